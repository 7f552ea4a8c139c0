//! Checks what the compiler does not: boundaries between crates, cycles between the modules of a
//! crate, typed summaries, the profile of the tests, and the length of lines.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use ossify_tests::workspace_root;
use serde_json::Value;

#[path = "architecture/enums.rs"]
mod enums;
#[path = "architecture/module_graph.rs"]
mod module_graph;

/// The crates that may link Burn or libtorch.
const NETWORK_CRATES: [&str; 4] =
    ["ossify-model", "ossify-torch-kernels", "ossify-train", "ossify-predict"];
/// The stages; none may import another.
const STAGES: [&str; 8] = [
    "ossify-ingest",
    "ossify-resize",
    "ossify-train",
    "ossify-predict",
    "ossify-evaluate",
    "ossify-query",
    "ossify-prune",
    "ossify-phantom",
];

/// Normal dependencies of each package of the workspace's resolved graph, by name.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let compiler = Command::new("rustc").arg("-vV").output().unwrap();
    let compiler = String::from_utf8(compiler.stdout).unwrap();
    let host = compiler.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--offline",
            "--all-features",
            "--filter-platform",
            host,
        ])
        .current_dir(workspace_root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeMap<&str, &str> =
        packages.iter().map(|p| (p["id"].as_str().unwrap(), p["name"].as_str().unwrap())).collect();
    let mut graph = BTreeMap::<String, BTreeSet<String>>::new();
    for node in metadata["resolve"]["nodes"].as_array().unwrap() {
        let direct = graph.entry(names[node["id"].as_str().unwrap()].to_owned()).or_default();
        for dependency in node["deps"].as_array().unwrap() {
            let is_normal = dependency["dep_kinds"]
                .as_array()
                .unwrap()
                .iter()
                .any(|kind| kind["kind"].is_null());
            if is_normal {
                direct.insert(names[dependency["pkg"].as_str().unwrap()].to_owned());
            }
        }
    }
    graph
}

fn reachable(graph: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let (mut found, mut open) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(name) = open.pop() {
        for dependency in graph.get(&name).into_iter().flatten() {
            if found.insert(dependency.clone()) {
                open.push(dependency.clone());
            }
        }
    }
    found
}

#[test]
fn only_the_network_crates_link_burn_or_libtorch() {
    let graph = dependencies();
    let ours: Vec<_> = graph.keys().filter(|name| name.starts_with("ossify-")).collect();
    assert!(ours.len() >= 12, "{ours:?}");
    for name in ours {
        let network: Vec<_> = reachable(&graph, name)
            .into_iter()
            .filter(|d| d == "burn" || d.starts_with("burn-") || d == "tch" || d == "torch-sys")
            .collect();
        assert_eq!(
            !network.is_empty(),
            NETWORK_CRATES.contains(&name.as_str()),
            "{name} reaches {network:?}"
        );
    }
}

#[test]
fn no_stage_imports_another() {
    let graph = dependencies();
    for stage in STAGES {
        let others: Vec<_> =
            reachable(&graph, stage).into_iter().filter(|d| STAGES.contains(&d.as_str())).collect();
        assert!(others.is_empty(), "{stage} imports {others:?}");
    }
}

#[test]
fn polars_serves_query_alone() {
    let graph = dependencies();
    for name in graph.keys().filter(|name| name.starts_with("ossify-")) {
        assert_eq!(reachable(&graph, name).contains("polars"), name == "ossify-query", "{name}");
    }
}

/// lib.rs and main.rs of a crate, and its other programs; each has a graph of its own.
fn crate_roots(folder: &Path) -> Vec<PathBuf> {
    let source = folder.join("src");
    let mut roots = vec![source.join("lib.rs"), source.join("main.rs")];
    let programs = fs::read_dir(source.join("bin")).into_iter().flatten();
    roots.extend(programs.map(|entry| entry.unwrap().path()));
    roots.retain(|root| root.extension().is_some_and(|e| e == "rs") && root.is_file());
    roots
}

#[test]
fn no_crate_has_a_circle_between_its_modules() {
    let mut crates = 0;
    let mut wrong = String::new();
    for entry in fs::read_dir(workspace_root().join("crates")).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        for root in crate_roots(&folder) {
            crates += 1;
            for circle in module_graph::circles(&root).unwrap() {
                writeln!(wrong, "{name}: {circle}").unwrap();
            }
        }
    }
    assert!(crates > 20, "{crates} crate roots");
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// The cycles of a crate with these files: for each, its modules, and `from uses to at line`.
fn circles_of(files: &[(&str, &str)]) -> Vec<(String, Vec<String>)> {
    let folder = tempfile::tempdir().unwrap();
    for (path, source) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, source).unwrap();
    }
    let circles = module_graph::circles(&folder.path().join("lib.rs")).unwrap();
    circles
        .into_iter()
        .map(|circle| {
            let uses =
                circle.uses.iter().map(|u| format!("{} uses {} at {}", u.from, u.to, u.line));
            (circle.modules.join(" "), uses.collect())
        })
        .collect()
}

#[test]
fn a_circle_is_found_however_a_module_names_another() {
    let lib = ("lib.rs", "mod a;\nmod b;\nmod c;\npub use a::{A, make};\npub use c::C;\n");
    let back = ("b.rs", "use crate::c::C;\npub struct B(pub C);\n");
    let c = ("c.rs", "pub struct C;\n");
    let a =
        |code: &str| format!("use crate::b::B;\n\npub struct A(B);\npub fn make() {{}}\n{code}");
    for (code, line) in [
        ("use crate::a::A;\npub struct C;\n", 1),
        // lib.rs re-exports what `a` defines.
        ("use crate::A;\npub struct C;\n", 1),
        ("use super::{A as Other, b as _};\npub struct C;\n", 1),
        ("use crate::*;\npub struct C(A);\n", 1),
        ("use crate::a;\npub struct C;\nfn f() { a::make() }\n", 3),
        ("pub struct C;\nfn f() { crate::make() }\n", 2),
        ("pub struct C;\nfn f() { println!(\"{:?}\", (1, crate::a::make())); }\n", 2),
        ("pub struct C;\nfn f() {\n    use crate::a::{self, A};\n}\n", 3),
        ("#[serde(with = \"crate::a::words\")]\npub struct C;\n", 1),
        ("pub struct C;\npub mod d {\n    impl From<crate::A> for super::C {}\n}\n", 3),
    ] {
        let found = circles_of(&[lib, ("a.rs", &a("")), back, ("c.rs", code)]);
        assert!(!found.is_empty(), "no circle with {code}");
        let expected = format!("uses crate::a at {line}");
        assert!(found[0].1.iter().any(|u| u.ends_with(&expected)), "{code}: {found:?}");
        assert!(found[0].1.contains(&"crate::a uses crate::b at 1".to_owned()), "{found:?}");
    }
    for code in [
        "pub struct C;\n",
        "/// See [`crate::a::A`].\npub struct C;\n",
        "pub struct C;\n#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\n",
        "pub struct C;\nimpl C {\n    #[cfg(test)]\n    fn f() { crate::a::make() }\n}\n",
        "pub struct C;\nfn f(a: C) -> &'static str { let make = a.make; \"crate::a::make\" }\n",
        "use other::crate_of::A;\npub struct C;\n",
    ] {
        let found = circles_of(&[lib, ("a.rs", &a("")), back, ("c.rs", code)]);
        assert!(found.is_empty(), "{code}: {found:?}");
    }
    assert!(circles_of(&[lib, ("a.rs", &a("")), back, c]).is_empty());
}

#[test]
fn a_parent_that_only_declares_and_re_exports_its_children_is_in_no_circle() {
    let child = ("a/child.rs", "use super::Limit;\npub fn read() -> Limit { Limit }\n");
    let lib = ("lib.rs", "mod a;\n");
    let declares = "mod child;\npub use child::read;\npub struct Limit;\n";
    assert!(circles_of(&[lib, ("a/mod.rs", declares), child]).is_empty());
    let calls = format!("{declares}pub fn read_twice() {{ read(); read() }}\n");
    let found = circles_of(&[lib, ("a/mod.rs", &calls), child]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "crate::a crate::a::child");
}

#[test]
fn folders_whose_modules_use_each_other_are_a_circle() {
    let found = circles_of(&[
        ("lib.rs", "mod find;\nmod read;\n"),
        ("find/mod.rs", "pub mod list;\npub mod walk;\n"),
        ("find/list.rs", "use crate::read::line;\nfn f() { line::g() }\n"),
        ("find/walk.rs", "pub fn h() {}\n"),
        ("read/mod.rs", "pub mod line;\npub mod label;\n"),
        ("read/line.rs", "pub fn g() {}\n"),
        ("read/label.rs", "fn i() { crate::find::walk::h() }\n"),
    ]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "crate::find crate::read");
    assert_eq!(
        found[0].1,
        [
            "crate::find::list uses crate::read::line at 2",
            "crate::read::label uses crate::find::walk at 1"
        ]
    );
}

#[test]
fn tests_check_the_assertions_and_overflows_of_each_crate_of_ours() {
    let read = |path: &Path| fs::read_to_string(path).unwrap().parse::<toml::Table>().unwrap();
    let workspace = read(&workspace_root().join("Cargo.toml"));
    let profile = workspace["profile"]["bench"]["package"].as_table().unwrap();
    let folders = fs::read_dir(workspace_root().join("crates")).unwrap();
    let members =
        folders.map(|entry| entry.unwrap().path()).chain([workspace_root().join("tests")]);
    let mut names: BTreeSet<String> = members
        .map(|folder| read(&folder.join("Cargo.toml"))["package"]["name"].as_str().unwrap().into())
        .collect();
    for (name, settings) in profile {
        assert!(names.remove(name), "{name} is in the profile, and not in the workspace");
        for key in ["debug-assertions", "overflow-checks"] {
            assert_eq!(settings[key].as_bool(), Some(true), "{key} of {name}");
        }
    }
    assert!(names.is_empty(), "not in [profile.bench.package] of Cargo.toml: {names:?}");
}

/// Rust files below a folder.
fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_two_crates_declare_enums_of_the_same_variants() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.rs");
    let source = "/// A.\n#[derive(Debug)]\npub enum A { B, C }\nenum One { B }\n\
        enum Data { B(u8), C }\nmod inner { vocabulary::words! { /// D.\n #[derive(Ord)] D {\
        /// E.\n #[default] E = \"e\", F = \"f\", } } }\n\
        #[cfg(test)]\nmod tests { enum G { H, I } }";
    fs::write(&file, source).unwrap();
    let found: Vec<_> = enums::enums_of(&file)
        .unwrap()
        .into_iter()
        .map(|found| (found.name, found.variants.into_iter().collect::<String>()))
        .collect();
    assert_eq!(found, [("A".into(), "BC".into()), ("D".into(), "EF".into())]);

    let mut by_variants = BTreeMap::<_, BTreeMap<PathBuf, Vec<String>>>::new();
    for entry in fs::read_dir(workspace_root().join("crates")).unwrap() {
        let folder = entry.unwrap().path();
        let mut files = Vec::new();
        rust_files(&folder.join("src"), &mut files);
        for found in files.iter().flat_map(|file| enums::enums_of(file).unwrap()) {
            let declared = format!("{} in {}", found.name, found.file.display());
            by_variants
                .entry(found.variants)
                .or_default()
                .entry(folder.clone())
                .or_default()
                .push(declared);
        }
    }
    assert!(by_variants.len() > 40, "{} enums", by_variants.len());
    let mut wrong = String::new();
    for (variants, crates) in by_variants.iter().filter(|(_, crates)| crates.len() > 1) {
        writeln!(wrong, "{variants:?}: {:?}", crates.values().flatten().collect::<Vec<_>>())
            .unwrap();
    }
    assert!(wrong.is_empty(), "declare each once, in a crate below both:\n{wrong}");
}

/// The lines of a source file, without its tests, that access JSON by a literal key.
fn looks_into_json(source: &str) -> Vec<usize> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let is_value = |character: char| character.is_alphanumeric() || "_)]".contains(character);
    let looks = |line: &str| {
        let is_indexed = line
            .match_indices("[\"")
            .any(|(at, _)| line[..at].chars().next_back().is_some_and(is_value));
        is_indexed || [".get(\"", ".pointer(\""].iter().any(|access| line.contains(access))
    };
    code.lines().enumerate().filter(|(_, line)| looks(line)).map(|(at, _)| at + 1).collect()
}

#[test]
fn what_a_stage_writes_for_another_or_for_itself_is_read_as_a_type() {
    let indexing = "let a = summary[\"a\"];\nlet b = f()[\"b\"][0];\nlet c = x.get(\"c\");";
    assert_eq!(looks_into_json(indexing), [1, 2, 3]);
    assert!(looks_into_json("vec![\"a\"]; for x in [\"a\"] {}\n#[cfg(test)] x[\"a\"]").is_empty());
    let mut wrong = String::new();
    let mut checked = 0;
    for stage in STAGES {
        let name = stage.trim_start_matches("ossify-");
        let mut files = Vec::new();
        rust_files(&workspace_root().join("crates").join(name).join("src"), &mut files);
        for file in files {
            checked += 1;
            for line in looks_into_json(&fs::read_to_string(&file).unwrap()) {
                writeln!(wrong, "{}:{line}", file.display()).unwrap();
            }
        }
    }
    assert!(checked > 150, "{checked} files");
    assert!(wrong.is_empty(), "read a type of ossify-contract instead:\n{wrong}");
}

/// Whether a line chooses code by the operating system. Which C library and features there are may
/// differ.
fn chooses_by_system(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    (code.contains("cfg(") || code.contains("cfg!(") || code.contains("cfg_attr("))
        && ["unix", "windows", "target_os", "target_family"].iter().any(|name| code.contains(name))
}

#[test]
fn no_code_is_kept_for_systems_that_nothing_is_built_or_tested_on() {
    assert!(chooses_by_system("    #[cfg(not(unix))]"));
    assert!(chooses_by_system("if cfg!(target_os = \"linux\") {"));
    assert!(!chooses_by_system("use std::os::unix::fs::FileExt; // not as in #[cfg(unix)]"));
    let mut files = Vec::new();
    rust_files(&workspace_root().join("crates"), &mut files);
    assert!(files.len() > 200, "{} files", files.len());
    files.retain(|file| fs::read_to_string(file).unwrap().lines().any(chooses_by_system));
    assert!(files.is_empty(), "ossify needs Linux, so these branches are dead code: {files:?}");
}

/// The longest line in code and prose, in characters.
const MAX_COLUMNS: usize = 100;

/// Whether people read and write this file. Expected outputs and data are not checked.
fn is_prose_or_code(path: &str) -> bool {
    const EXTENSIONS: &str = "cfg cpp css dockerignore gitattributes gitignore h js md py rs sh \
                              sql toml txt yaml yml";
    const NAMES: [&str; 5] = ["Dockerfile", "Makefile", "LICENSE", "run", ".clang-format"];
    // Deliberately wrong labels, datasets and conf files, and the expected messages.
    const DATA: [&str; 2] = ["/tests/corpus/", "/tests/bad_predictions/"];
    let name = path.rsplit('/').next().unwrap();
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    !DATA.iter().any(|folder| path.contains(folder))
        && (NAMES.contains(&name)
            || extension.is_some_and(|e| EXTENSIONS.split(' ').any(|known| known == e)))
}

/// The files that git tracks; none if this is not a clone.
fn tracked_files() -> Vec<String> {
    let output =
        Command::new("git").args(["ls-files", "-z"]).current_dir(workspace_root()).output();
    let output = output.unwrap_or_else(|e| panic!("git does not start: {e}"));
    String::from_utf8(output.stdout).unwrap().split_terminator('\0').map(str::to_owned).collect()
}

/// Numbers of the lines that are too long, except those that cannot be broken: a single long word,
/// such as a URL, and rows of Markdown tables.
fn long_lines(text: &str) -> Vec<usize> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| line.chars().count() > MAX_COLUMNS)
        .filter(|(_, line)| !(line.starts_with("| ") && line.ends_with(" |")))
        .filter(|(_, line)| line.trim_start_matches(['#', '/', '-', ' ']).contains(' '))
        .map(|(index, _)| index + 1)
        .collect()
}

#[test]
fn no_line_has_more_than_100_columns() {
    assert_eq!(long_lines(&format!("{0}\n a{0}\n{0}é {0}\n", "é".repeat(50))), [3]);
    assert!(long_lines(&format!("# https://{}", "x".repeat(100))).is_empty());
    let files = tracked_files();
    if files.is_empty() {
        eprintln!("skipped: {} is no clone of a git repository", workspace_root().display());
        return;
    }
    let mut wrong = String::new();
    let mut checked = 0;
    for path in files.iter().filter(|path| is_prose_or_code(path)) {
        let text = match fs::read_to_string(workspace_root().join(path)) {
            Ok(text) => text,
            // Deleted, but not committed yet.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => panic!("{path}: {e}"),
        };
        checked += 1;
        for line in long_lines(&text) {
            writeln!(wrong, "{path}:{line}").unwrap();
        }
    }
    assert!(checked > 300, "{checked} files");
    assert!(wrong.is_empty(), "lines of more than {MAX_COLUMNS} columns:\n{wrong}");
}
