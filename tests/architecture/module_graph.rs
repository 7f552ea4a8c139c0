//! Finds cycles among the modules of a crate, from its source, parsed with `syn`.
//!
//! A module uses another if it imports an item that the other defines, or names one by a path,
//! including in a macro's arguments. Re-exports are followed to the module that defines the item:
//! `crate::Reader` counts as a use of `shards` if lib.rs contains `pub use shards::Reader`, and
//! that line itself does not count as a use by lib.rs. Code under `#[cfg(test)]` does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Item, UseTree, Visibility};

/// Modules that use each other, directly or through others, and the lines in which they do.
pub struct Circle {
    /// Paths of the modules, such as `crate::shards`.
    pub modules: Vec<String>,
    /// Each use of one of them by another.
    pub uses: Vec<Use>,
}

/// One module's first use of another.
pub struct Use {
    /// The module that uses.
    pub from: String,
    /// The module that is used.
    pub to: String,
    /// Source file.
    pub file: PathBuf,
    /// Line in it, from 1.
    pub line: usize,
    /// The path as written.
    pub path: String,
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} use each other:", self.modules.join(", "))?;
        for Use { from, to, file, line, path } in &self.uses {
            writeln!(f, "    {from} uses {to}: {}:{line}: {path}", file.display())?;
        }
        Ok(())
    }
}

/// The cycles among the modules of the crate whose root is `root`: first those between modules,
/// then those between folders that no cycle of modules explains.
///
/// # Errors
/// Fails if a file cannot be read or is not Rust.
pub fn circles(root: &Path) -> io::Result<Vec<Circle>> {
    let mut graph = Graph::default();
    graph.load(root, Vec::new(), root.parent().unwrap_or(root))?;
    let uses = graph.uses();
    let mut found = Vec::new();
    let ids: Vec<_> = (0..graph.modules.len()).collect();
    for group in strongly_connected(&ids, |from, to| uses.contains_key(&(from, to))) {
        found.push(graph.circle(&uses, &group, &group, Some));
    }
    let of_modules: Vec<BTreeSet<usize>> =
        strongly_connected(&ids, |from, to| uses.contains_key(&(from, to)))
            .into_iter()
            .map(|group| group.into_iter().collect())
            .collect();
    for parent in 0..graph.modules.len() {
        let children = graph.children(parent);
        let owner =
            |module: usize| children.iter().copied().find(|&child| graph.is_within(module, child));
        let joined: BTreeSet<_> = uses
            .keys()
            .filter_map(|&(from, to)| Some((owner(from)?, owner(to)?)))
            .filter(|(from, to)| from != to)
            .collect();
        for group in strongly_connected(&children, |from, to| joined.contains(&(from, to))) {
            let is_accounted_for = of_modules.iter().any(|circle| {
                let owners: BTreeSet<_> = circle.iter().filter_map(|&m| owner(m)).collect();
                owners.iter().filter(|owner| group.contains(owner)).count() > 1
            });
            if !is_accounted_for {
                let members: Vec<_> = ids
                    .iter()
                    .copied()
                    .filter(|&m| owner(m).is_some_and(|owner| group.contains(&owner)))
                    .collect();
                found.push(graph.circle(&uses, &group, &members, owner));
            }
        }
    }
    Ok(found)
}

/// Groups of more than one node in which every node reaches every other.
fn strongly_connected(nodes: &[usize], is_edge: impl Fn(usize, usize) -> bool) -> Vec<Vec<usize>> {
    let reach: BTreeMap<usize, BTreeSet<usize>> = nodes
        .iter()
        .map(|&start| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
            while let Some(from) = open.pop() {
                for &to in nodes {
                    if is_edge(from, to) && seen.insert(to) {
                        open.push(to);
                    }
                }
            }
            (start, seen)
        })
        .collect();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for &node in nodes {
        if groups.iter().any(|group| group.contains(&node)) {
            continue;
        }
        let group: Vec<_> = nodes
            .iter()
            .copied()
            .filter(|other| reach[&node].contains(other) && reach[other].contains(&node))
            .collect();
        if group.len() > 1 {
            groups.push(group);
        }
    }
    groups
}

#[derive(Default)]
struct Graph {
    modules: Vec<Module>,
    /// Macros with `#[macro_export]`, which are at the root whatever module defines them.
    exported_macros: BTreeMap<String, usize>,
}

#[derive(Default)]
struct Module {
    /// Names from the root down; empty for the root.
    path: Vec<String>,
    file: PathBuf,
    children: BTreeMap<String, usize>,
    defined: BTreeSet<String>,
    macros: BTreeSet<String>,
    imports: Vec<Import>,
    code: Vec<TokenStream>,
}

struct Import {
    path: Vec<String>,
    /// The name that it binds; `None` for a glob.
    name: Option<String>,
    is_public: bool,
    line: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Target {
    Module(usize),
    /// An item that this module defines.
    ItemOf(usize),
}

/// The names and paths that a module's code mentions.
#[derive(Default)]
struct Mentions {
    paths: Vec<(Vec<String>, usize)>,
    /// Path, line.
    globs: Vec<(Vec<String>, usize)>,
    /// Single names, with a line for each.
    names: BTreeMap<String, usize>,
    /// Macros that are called by a single name.
    macros: BTreeMap<String, usize>,
}

impl Graph {
    /// Reads the module `path` from `file`; the files of its children are in `folder`.
    fn load(&mut self, file: &Path, path: Vec<String>, folder: &Path) -> io::Result<usize> {
        let source = fs::read_to_string(file)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", file.display())))?;
        let parsed = syn::parse_file(&source).map_err(|e| {
            let line = e.span().start().line;
            io::Error::other(format!("{}:{line}: {e}", file.display()))
        })?;
        self.add(file, path, folder, parsed.items)
    }

    fn add(
        &mut self,
        file: &Path,
        path: Vec<String>,
        folder: &Path,
        items: Vec<Item>,
    ) -> io::Result<usize> {
        let id = self.modules.len();
        self.modules.push(Module {
            path: path.clone(),
            file: file.to_path_buf(),
            ..Module::default()
        });
        for item in items {
            if attributes(&item).iter().any(is_test) {
                continue;
            }
            match item {
                Item::Mod(module) => {
                    let name = module.ident.to_string();
                    let below = [path.clone(), vec![name.clone()]].concat();
                    let folder_below = folder.join(&name);
                    let child = if let Some((_, items)) = module.content {
                        self.add(file, below, &folder_below, items)?
                    } else {
                        let elsewhere = path_attribute(&module.attrs)
                            .map(|path| file.parent().unwrap_or(file).join(path));
                        let candidates =
                            [folder.join(format!("{name}.rs")), folder_below.join("mod.rs")];
                        let found = elsewhere
                            .or_else(|| candidates.iter().find(|file| file.is_file()).cloned())
                            .unwrap_or_else(|| candidates[0].clone());
                        self.load(&found, below, &folder_below)?
                    };
                    self.modules[id].children.insert(name, child);
                }
                Item::Use(item) => {
                    if item.leading_colon.is_none() {
                        let is_public = !matches!(item.vis, Visibility::Inherited);
                        let mut imports = Vec::new();
                        flatten(&item.tree, Vec::new(), is_public, &mut imports);
                        self.modules[id].imports.append(&mut imports);
                    }
                }
                other => {
                    let module = &mut self.modules[id];
                    if let Item::Macro(item) = &other
                        && let Some(name) = &item.ident
                    {
                        module.macros.insert(name.to_string());
                        if item.attrs.iter().any(|a| a.path().is_ident("macro_export")) {
                            self.exported_macros.insert(name.to_string(), id);
                        }
                    }
                    let module = &mut self.modules[id];
                    module.defined.extend(defined_name(&other));
                    module.code.push(other.into_token_stream());
                }
            }
        }
        Ok(id)
    }

    fn name(&self, module: usize) -> String {
        [&["crate".to_owned()], self.modules[module].path.as_slice()].concat().join("::")
    }

    fn children(&self, module: usize) -> Vec<usize> {
        self.modules[module].children.values().copied().collect()
    }

    fn is_within(&self, module: usize, folder: usize) -> bool {
        self.modules[module].path.starts_with(&self.modules[folder].path)
    }

    fn parent(&self, module: usize) -> Option<usize> {
        let (_, above) = self.modules[module].path.split_last()?;
        self.modules.iter().position(|other| other.path == above)
    }

    /// What a path in a module refers to; `None` if it leads to another crate.
    fn resolve(&self, from: usize, path: &[String], depth: usize) -> Option<Target> {
        // Stops at imports that refer to each other.
        if depth > 32 {
            return None;
        }
        let mut rest = path;
        let mut at = match rest.first()?.as_str() {
            "crate" => {
                rest = &rest[1..];
                Target::Module(0)
            }
            "self" => {
                rest = &rest[1..];
                Target::Module(from)
            }
            "super" => {
                rest = &rest[1..];
                Target::Module(self.parent(from)?)
            }
            name => {
                let target = self.look_up(from, name, rest.len() == 1, depth)?;
                rest = &rest[1..];
                target
            }
        };
        while let Some((name, after)) = rest.split_first() {
            let Target::Module(module) = at else { break };
            at = match name.as_str() {
                "super" => Target::Module(self.parent(module)?),
                "self" => at,
                name => self
                    .look_up(module, name, after.is_empty(), depth)
                    // An item that a macro generates.
                    .unwrap_or(Target::ItemOf(module)),
            };
            rest = after;
        }
        Some(at)
    }

    /// What a name refers to in a module. A module and an item may share a name; `is_last` says
    /// that the path ends here, so that the item is meant.
    fn look_up(&self, module: usize, name: &str, is_last: bool, depth: usize) -> Option<Target> {
        let here = &self.modules[module];
        let child = here.children.get(name).copied().map(Target::Module);
        if child.is_some() && !is_last {
            return child;
        }
        if here.defined.contains(name) {
            return Some(Target::ItemOf(module));
        }
        let import = here.imports.iter().find(|import| import.name.as_deref() == Some(name));
        if let Some(import) = import
            && let Some(target) = self.resolve(module, &import.path, depth + 1)
        {
            return Some(target);
        }
        if child.is_some() {
            return child;
        }
        if module == 0
            && let Some(&module) = self.exported_macros.get(name)
        {
            return Some(Target::ItemOf(module));
        }
        let globs: Vec<_> = here
            .imports
            .iter()
            .filter(|import| import.name.is_none())
            .filter_map(|import| match self.resolve(module, &import.path, depth + 1)? {
                Target::Module(other) if other != module => Some(other),
                _ => None,
            })
            .collect();
        let found = globs.iter().find_map(|&other| self.look_up(other, name, is_last, depth + 8));
        // Items that macros generate are only known by their names in the source.
        found.or_else(|| {
            let mut named = globs.iter().filter(|&&other| {
                self.modules[other].children.is_empty()
                    && self.mentions(other).names.contains_key(name)
            });
            named.next().map(|&other| Target::ItemOf(other))
        })
    }

    fn mentions(&self, module: usize) -> Mentions {
        let mut mentions = Mentions::default();
        for code in &self.modules[module].code {
            scan(code.clone(), false, &mut mentions);
        }
        mentions
    }

    /// For each pair of modules of which the first uses the second, the line and path of the first
    /// use.
    fn uses(&self) -> BTreeMap<(usize, usize), (usize, String)> {
        let mut uses = BTreeMap::new();
        for from in 0..self.modules.len() {
            for (to, line, path) in self.uses_of(from) {
                if to != from {
                    uses.entry((from, to)).or_insert((line, path));
                }
            }
        }
        uses
    }

    fn uses_of(&self, from: usize) -> Vec<(usize, usize, String)> {
        let module = &self.modules[from];
        let mentions = self.mentions(from);
        let mut uses = Vec::new();
        for import in &module.imports {
            let Some(target) = self.resolve(from, &import.path, 0) else { continue };
            let text = import.path.join("::");
            match (target, &import.name) {
                (Target::ItemOf(to), Some(name)) => {
                    // A re-export is not a use, unless this module's code also mentions the name.
                    if !import.is_public || mentions.has(name) {
                        uses.push((to, import.line, text));
                    }
                }
                (Target::Module(to), Some(name)) => {
                    // Uses of the module by this name are counted below.
                    if !import.is_public && !mentions.has_path_from(name) {
                        uses.push((to, import.line, text));
                    }
                }
                (Target::Module(to), None) => {
                    self.through_glob(to, &mentions, import.line, &text, &mut uses);
                }
                (Target::ItemOf(to), None) => uses.push((to, import.line, format!("{text}::*"))),
            }
        }
        for (path, line) in &mentions.globs {
            if let Some(Target::Module(to)) = self.resolve(from, path, 0) {
                self.through_glob(to, &mentions, *line, &path.join("::"), &mut uses);
            }
        }
        for (path, line) in &mentions.paths {
            if let Some(Target::Module(to) | Target::ItemOf(to)) = self.resolve(from, path, 0) {
                uses.push((to, *line, path.join("::")));
            }
        }
        for (name, line) in &mentions.macros {
            if self.look_up(from, name, true, 0).is_some() {
                continue;
            }
            // In scope by the order of the source.
            let by_text = self.modules.iter().position(|module| module.macros.contains(name));
            uses.extend(by_text.map(|to| (to, *line, format!("{name}!"))));
        }
        uses
    }

    fn through_glob(
        &self,
        to: usize,
        mentions: &Mentions,
        line: usize,
        text: &str,
        uses: &mut Vec<(usize, usize, String)>,
    ) {
        let heads = mentions.paths.iter().filter_map(|(path, _)| path.first());
        for name in mentions.names.keys().chain(mentions.macros.keys()).chain(heads) {
            if let Some(Target::Module(to) | Target::ItemOf(to)) = self.look_up(to, name, true, 0) {
                uses.push((to, line, format!("{text}::* for {name}")));
            }
        }
    }

    fn circle(
        &self,
        uses: &BTreeMap<(usize, usize), (usize, String)>,
        group: &[usize],
        members: &[usize],
        owner: impl Fn(usize) -> Option<usize>,
    ) -> Circle {
        let uses = uses
            .iter()
            .filter(|((from, to), _)| {
                members.contains(from) && members.contains(to) && owner(*from) != owner(*to)
            })
            .map(|(&(from, to), (line, path))| Use {
                from: self.name(from),
                to: self.name(to),
                file: self.modules[from].file.clone(),
                line: *line,
                path: path.clone(),
            })
            .collect();
        Circle { modules: group.iter().map(|&module| self.name(module)).collect(), uses }
    }
}

impl Mentions {
    fn has(&self, name: &str) -> bool {
        self.names.contains_key(name) || self.macros.contains_key(name) || self.has_path_from(name)
    }

    fn has_path_from(&self, name: &str) -> bool {
        self.paths.iter().any(|(path, _)| path.first().is_some_and(|first| first == name))
    }
}

/// The imports of a `use` tree.
fn flatten(tree: &UseTree, before: Vec<String>, is_public: bool, imports: &mut Vec<Import>) {
    let mut add = |path: Vec<String>, name: Option<String>, line: usize| {
        imports.push(Import { path, name, is_public, line });
    };
    match tree {
        UseTree::Path(path) => {
            let path_so_far = [before, vec![path.ident.to_string()]].concat();
            flatten(&path.tree, path_so_far, is_public, imports);
        }
        UseTree::Name(name) => {
            let line = name.ident.span().start().line;
            if name.ident == "self" {
                let last = before.last().cloned();
                add(before, last, line);
            } else {
                let bound = name.ident.to_string();
                add([before, vec![bound.clone()]].concat(), Some(bound), line);
            }
        }
        UseTree::Rename(rename) => {
            let line = rename.ident.span().start().line;
            let mut path = before;
            if rename.ident != "self" {
                path.push(rename.ident.to_string());
            }
            add(path, Some(rename.rename.to_string()), line);
        }
        UseTree::Glob(glob) => {
            let line = glob.star_token.spans[0].start().line;
            add(before, None, line);
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, before.clone(), is_public, imports);
            }
        }
    }
}

/// Collects names and paths from tokens, including the arguments of macros. With `in_attribute`,
/// also from literals, such as `#[serde(with = "crate::hex")]`.
fn scan(tokens: TokenStream, in_attribute: bool, mentions: &mut Mentions) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let is_punct = |at: usize, c: char| {
        tokens.get(at).is_some_and(|tree| matches!(tree, TokenTree::Punct(p) if p.as_char() == c))
    };
    let is_colons = |at: usize| is_punct(at, ':') && is_punct(at + 1, ':');
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                let group_at = at + 1 + usize::from(is_punct(at + 1, '!'));
                let Some(TokenTree::Group(group)) = tokens.get(group_at) else {
                    at += 1;
                    continue;
                };
                let text = group.stream().to_string().replace(' ', "");
                at = group_at + 1;
                if is_test_text(&text) {
                    at = after_item(&tokens, at);
                } else if !text.starts_with("doc=") {
                    scan(group.stream(), true, mentions);
                }
            }
            TokenTree::Group(group) => {
                scan(group.stream(), in_attribute, mentions);
                at += 1;
            }
            TokenTree::Literal(literal) if in_attribute => {
                let text = literal.to_string();
                let text = text.trim_matches('"');
                let is_path = text.contains("::")
                    && text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == ':');
                if is_path {
                    let path = text.split("::").map(str::to_owned).collect();
                    mentions.paths.push((path, literal.span().start().line));
                }
                at += 1;
            }
            TokenTree::Ident(first) => {
                let line = first.span().start().line;
                let is_field =
                    at > 0 && is_punct(at - 1, '.') && !is_punct(at.wrapping_sub(2), '.');
                let is_after_colons = at > 1 && is_colons(at - 2);
                let is_visibility = at > 0 && tokens[at - 1].to_string() == "in";
                let mut path = vec![first.to_string()];
                at += 1;
                while is_colons(at)
                    && let Some(TokenTree::Ident(next)) = tokens.get(at + 2)
                {
                    path.push(next.to_string());
                    at += 3;
                }
                if is_after_colons || is_field {
                    continue;
                }
                if is_colons(at) && is_punct(at + 2, '*') {
                    mentions.globs.push((path, line));
                    at += 3;
                } else if is_colons(at)
                    && let Some(TokenTree::Group(group)) = tokens.get(at + 2)
                    && group.delimiter() == Delimiter::Brace
                {
                    expand(&path, group.stream(), mentions);
                    at += 3;
                } else if path.len() > 1 {
                    if !is_visibility {
                        mentions.paths.push((path, line));
                    }
                } else if is_punct(at, '!') && !is_punct(at + 1, '=') {
                    mentions.macros.entry(path.remove(0)).or_insert(line);
                } else {
                    mentions.names.entry(path.remove(0)).or_insert(line);
                }
            }
            _ => at += 1,
        }
    }
}

/// The paths of a `use` within a function: `before::{tokens}`.
fn expand(before: &[String], tokens: TokenStream, mentions: &mut Mentions) {
    let mut within = Mentions::default();
    scan(tokens, false, &mut within);
    let join = |path: Vec<String>| match path.as_slice() {
        [only] if only == "self" => before.to_vec(),
        _ => [before.to_vec(), path].concat(),
    };
    let names = within.names.into_iter().map(|(name, line)| (vec![name], line));
    for (path, line) in names.chain(within.paths) {
        mentions.paths.push((join(path), line));
    }
    mentions.globs.extend(within.globs.into_iter().map(|(path, line)| (join(path), line)));
}

/// The position after the item that starts at `at`.
fn after_item(tokens: &[TokenTree], at: usize) -> usize {
    let is_end = |tree: &TokenTree| match tree {
        TokenTree::Punct(punct) => matches!(punct.as_char(), ';' | ','),
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        _ => false,
    };
    tokens[at..].iter().position(is_end).map_or(tokens.len(), |end| at + end + 1)
}

fn is_test(attribute: &Attribute) -> bool {
    is_test_text(&attribute.meta.to_token_stream().to_string().replace(' ', ""))
}

fn is_test_text(text: &str) -> bool {
    text == "test" || text == "cfg(test)" || text.starts_with("cfg(all(test,")
}

/// The file that `#[path = "..."]` names.
fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    let mut named = attributes.iter().filter(|attribute| attribute.path().is_ident("path"));
    named.find_map(|attribute| {
        let text = attribute.meta.to_token_stream().to_string();
        Some(text.split('"').nth(1)?.to_owned())
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn defined_name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}
