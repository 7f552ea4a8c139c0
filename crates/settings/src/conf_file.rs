use std::path::Path;

use ossify_contract::read_user_text;
use toml::de::{DeTable, DeValue};

use crate::error::{ConfigError, RenamedKey};
use crate::layers::Layers;
use crate::origin::Origin;
use crate::renamed::new_path;
use crate::written::{below, value_of};

impl Layers {
    /// Lays a conf file over.
    ///
    /// # Errors
    /// Names the file, and the line and column of what does not fit.
    pub fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        self.add_text(path, &read_user_text(path, "conf file")?)
    }

    pub(crate) fn add_text(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let source = Source { path, text };
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut renamed = Vec::new();
        self.find_renamed(&source, "", table.get_ref(), &mut renamed);
        // Half of a key's change to its new name sets it twice; the new name says what to do.
        if let Some(error) = errors.first()
            && (renamed.is_empty() || error.message() != DUPLICATE)
        {
            return Err(source.syntax(error, table.get_ref()));
        }
        if !renamed.is_empty() {
            renamed.sort_by_key(|(offset, _)| *offset);
            let renamed = renamed.into_iter().map(|(_, renamed)| renamed).collect();
            return Err(ConfigError::RenamedKeys { renamed });
        }
        self.add_table(&source, "", table.get_ref())
    }

    /// All keys of earlier releases, so that one message names them all.
    fn find_renamed(
        &self,
        source: &Source<'_>,
        path: &str,
        table: &DeTable<'_>,
        renamed: &mut Vec<(usize, RenamedKey)>,
    ) {
        for (key, value) in table {
            let (offset, old) = (key.span().start, below(path, key.get_ref()));
            match (new_path(&old), value.get_ref()) {
                (_, DeValue::Table(content)) => self.find_renamed(source, &old, content, renamed),
                (Some(new), _) => {
                    renamed.push((offset, RenamedKey { origin: source.origin(offset), old, new }));
                }
                (None, _) => {}
            }
        }
    }

    fn add_table(
        &mut self,
        source: &Source<'_>,
        path: &str,
        table: &DeTable<'_>,
    ) -> Result<(), ConfigError> {
        for (key, value) in table {
            let (name, origin) = (key.get_ref(), source.origin(key.span().start));
            let key_path = below(path, name);
            let is_named = self.named(path).is_some();
            if name.contains('.') && !is_named {
                return Err(self.unknown(&key_path, origin));
            }
            match value.get_ref() {
                DeValue::Table(content)
                    if self.table(&key_path).is_some() || self.named(&key_path).is_some() =>
                {
                    self.add_table(source, &key_path, content)?;
                }
                _ if is_named => {
                    let value = value_of(&key_path, value, &|offset| source.origin(offset))?;
                    self.set_entry(path, name, value, origin)?;
                }
                _ => {
                    let value = value_of(&key_path, value, &|offset| source.origin(offset))?;
                    self.set(&key_path, value, origin)?;
                }
            }
        }
        Ok(())
    }
}

/// The paths of all keys and tables with this name.
fn paths_of(name: &str, path: &str, table: &DeTable<'_>, found: &mut Vec<String>) {
    for (key, value) in table {
        let key_path = below(path, key.get_ref());
        if let DeValue::Table(content) = value.get_ref() {
            paths_of(name, &key_path, content, found);
        }
        if key.get_ref() == name {
            found.push(key_path);
        }
    }
}

/// A conf file with its text.
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

/// What the parser says, in words for those who write conf files.
fn in_words(said: &str) -> String {
    const WORDS: [(&str, &str); 8] = [
        (
            "string values must be quoted",
            "expected a value: a number, true, false, a list in brackets, or text in quotes",
        ),
        ("invalid boolean", "expected true or false, in lower case"),
        ("invalid basic string, expected `\"`", "the text has no closing quote in this line"),
        ("invalid basic string", "the text in quotes holds a character that does not belong there"),
        (
            "missing escaped value",
            "a backslash in \"...\" is written \\\\; between single quotes it stands for itself",
        ),
        ("unquoted keys cannot be empty", "a name is missing here"),
        ("key with no value", "expected a line with a name and a value, as in `epochs = 10`"),
        ("unexpected leading zero", "a number does not begin with 0"),
    ];
    let known = WORDS.iter().find(|(theirs, _)| said.starts_with(theirs));
    known.map_or(said, |(_, ours)| ours).to_owned()
}

/// What the parser says of a key that is set twice.
const DUPLICATE: &str = "duplicate key";

impl Source<'_> {
    /// An error of the parser, which has read `table` so far.
    fn syntax(&self, error: &toml::de::Error, table: &DeTable<'_>) -> ConfigError {
        let span = error.span().unwrap_or_default();
        let origin = self.origin(span.start);
        let name = self.text.get(span.clone()).unwrap_or_default();
        if error.message() != DUPLICATE || name.is_empty() {
            return ConfigError::Syntax { origin, reason: in_words(error.message()) };
        }
        let mut paths = Vec::new();
        paths_of(name, "", table, &mut paths);
        // A value where the name is that of a table now.
        let new = paths.iter().find_map(|path| Some((path, new_path(path)?)));
        let hint = new.map_or_else(
            || "set it once".to_owned(),
            |(old, new)| format!("the value of {old} is now {new}"),
        );
        ConfigError::Syntax { origin, reason: format!("`{name}` is set a second time; {hint}") }
    }

    fn origin(&self, offset: usize) -> Origin {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Origin::File {
            path: self.path.to_path_buf(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}
