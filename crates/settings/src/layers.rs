use std::collections::BTreeMap;

use toml::Value;
use toml::de::DeValue;

use crate::error::{ConfigError, RenamedKey};
use crate::nearest::{nearest, nearest_path};
use crate::origin::Origin;
use crate::renamed::new_path;
use crate::schema::{Effect, Key, NamedEntries, Table};
use crate::sections::{Settings, tables};
use crate::written::value_of;

/// The configuration while its layers are merged: defaults < conf file < environment < command
/// line. Keys have paths, as in `train.loss.l2`.
#[derive(Clone, Debug)]
pub struct Layers {
    pub(crate) tables: Vec<Table>,
    /// By the path of the key.
    values: BTreeMap<String, (Value, Origin)>,
    /// By the path of the table of named entries, then by name.
    entries: BTreeMap<String, BTreeMap<String, (Value, Origin)>>,
}

impl Layers {
    /// The built-in defaults.
    pub fn defaults() -> Self {
        let tables = tables();
        let (mut values, mut entries) = (BTreeMap::new(), BTreeMap::new());
        for table in &tables {
            for key in &table.keys {
                let default = (key.default.clone(), Origin::Default);
                values.insert(format!("{}.{}", table.path, key.name), default);
            }
            for named in &table.named {
                let defaults = named.default.clone().into_iter();
                let defaults = defaults.map(|(name, value)| (name, (value, Origin::Default)));
                entries.insert(format!("{}.{}", table.path, named.name), defaults.collect());
            }
        }
        Layers { tables, values, entries }
    }

    /// Lays one `SECTION.KEY=VALUE` of the command line over.
    ///
    /// # Errors
    /// Names the argument that does not fit.
    pub fn add_set(&mut self, assignment: &str) -> Result<(), ConfigError> {
        let (path, text) =
            assignment.split_once('=').ok_or_else(|| ConfigError::BadSet(assignment.to_owned()))?;
        let origin = Origin::CommandLine(format!("--set {assignment}"));
        self.set_text(path.trim(), text, origin)
    }

    /// Sets a key to a value that was written outside a file: a value of TOML and nothing behind
    /// it, else a word without its quotes. A key of type string takes the text as it is.
    pub(crate) fn set_text(
        &mut self,
        path: &str,
        text: &str,
        origin: Origin,
    ) -> Result<(), ConfigError> {
        let wants_string = self.key(path).is_some_and(|key| key.default.is_str());
        let value = match DeValue::parse(text.trim()) {
            Ok(written) if written.get_ref().is_str() || !wants_string => {
                value_of(path, &written, &|_| origin.clone())?
            }
            _ => Value::String(text.to_owned()),
        };
        self.set(path, value, origin)
    }

    /// Sets a key, an entry, or all that a table names.
    pub(crate) fn set(
        &mut self,
        path: &str,
        value: Value,
        origin: Origin,
    ) -> Result<(), ConfigError> {
        if let Some(key) = self.key(path) {
            let value = (key.check)(&value)
                .map_err(|reason| bad_value(path, &value, reason, key.doc, origin.clone()))?;
            self.values.insert(path.to_owned(), (value, origin));
            return Ok(());
        }
        if let Some((table, name)) = self.entry(path) {
            return self.set_entry(&table, &name, value, origin);
        }
        if let (Some(new), false) = (new_path(path), value.is_table()) {
            let renamed = vec![RenamedKey { origin, old: path.to_owned(), new }];
            return Err(ConfigError::RenamedKeys { renamed });
        }
        let (is_named, is_table) = (self.named(path).is_some(), self.table(path).is_some());
        match value {
            Value::Table(content) if is_named => content
                .into_iter()
                .try_for_each(|(name, value)| self.set_entry(path, &name, value, origin.clone())),
            Value::Table(content) if is_table => {
                content.into_iter().try_for_each(|(name, value)| {
                    self.set(&format!("{path}.{name}"), value, origin.clone())
                })
            }
            value if is_named || is_table => {
                let reason = format!("it should be a table, as in [{path}] or {{ name = value }}");
                let doc = self.named(path).map_or("", |named| named.doc);
                Err(bad_value(path, &value, reason, doc, origin))
            }
            _ => Err(self.unknown(path, origin)),
        }
    }

    /// Sets an entry of the table of named entries at this path.
    pub(crate) fn set_entry(
        &mut self,
        table: &str,
        name: &str,
        value: Value,
        origin: Origin,
    ) -> Result<(), ConfigError> {
        let path = format!("{table}.{name}");
        let Some(named) = self.named(table) else { return Err(self.unknown(&path, origin)) };
        if !named.known.is_empty() && !named.known.contains(&name) {
            let hint = nearest(name, named.known.iter().copied()).map_or_else(
                || format!("; its names are {}", named.known.join(", ")),
                |near| format!("; did you mean `{near}`?"),
            );
            return Err(ConfigError::UnknownKey { origin, key: path, hint });
        }
        let value = (named.check)(name, &value)
            .map_err(|reason| bad_value(&path, &value, reason, named.doc, origin.clone()))?;
        self.entries.entry(table.to_owned()).or_default().insert(name.to_owned(), (value, origin));
        Ok(())
    }

    fn key(&self, path: &str) -> Option<&Key> {
        let (table, name) = path.rsplit_once('.')?;
        self.table(table)?.keys.iter().find(|key| key.name == name)
    }

    /// The table of keys at this path.
    pub(crate) fn table(&self, path: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.path == path)
    }

    /// The table of named entries at this path.
    pub(crate) fn named(&self, path: &str) -> Option<&NamedEntries> {
        let (table, name) = path.rsplit_once('.')?;
        self.table(table)?.named.iter().find(|named| named.name == name)
    }

    /// The table and the name of an entry written as `section.table.name`.
    fn entry(&self, path: &str) -> Option<(String, String)> {
        let table = self.entries.keys().find(|table| {
            path.strip_prefix(table.as_str()).is_some_and(|rest| rest.starts_with('.'))
        })?;
        Some((table.clone(), path[table.len() + 1..].trim_matches('"').to_owned()))
    }

    /// The value of a key, with where it came from.
    pub(crate) fn value(&self, table: &Table, key: &Key) -> Option<&(Value, Origin)> {
        self.values.get(&format!("{}.{}", table.path, key.name))
    }

    /// The entries of a table of named entries, in order of their names.
    pub(crate) fn entries_of(
        &self,
        table: &Table,
        named: &NamedEntries,
    ) -> impl Iterator<Item = (&str, &Value, &Origin)> {
        let entries = self.entries.get(&format!("{}.{}", table.path, named.name));
        let entries = entries.into_iter().flatten();
        entries.map(|(name, (value, origin))| (name.as_str(), value, origin))
    }

    pub(crate) fn unknown(&self, written: &str, origin: Origin) -> ConfigError {
        let is_section = !written.contains('.');
        let paths: Vec<String> = self
            .tables
            .iter()
            .flat_map(|table| {
                let keys = table.keys.iter().map(|key| key.name);
                let names = keys.chain(table.named.iter().map(|named| named.name));
                let paths = names.map(|name| format!("{}.{name}", table.path));
                let itself = (is_section || table.path.contains('.')).then(|| table.path.clone());
                itself.into_iter().chain(paths).collect::<Vec<_>>()
            })
            .collect();
        let hint = match nearest_path(written, paths.iter().map(String::as_str)) {
            Some(near) if self.table(near).is_some() => {
                format!("; did you mean the table [{near}]?")
            }
            Some(near) => format!("; did you mean `{near}`?"),
            None => "; --print-config lists all keys".to_owned(),
        };
        ConfigError::UnknownKey { origin, key: written.to_owned(), hint }
    }

    /// The merged result.
    ///
    /// # Errors
    /// None that the single layers did not already report.
    pub fn resolve(&self) -> Result<Settings, ConfigError> {
        self.content("").try_into().map_err(|e: toml::de::Error| {
            let value = Value::String(String::new());
            bad_value("configuration", &value, e.message().to_owned(), "", Origin::Default)
        })
    }

    /// The values of the table at this path and of those below it; the whole below "".
    fn content(&self, path: &str) -> toml::Table {
        let mut content = toml::Table::new();
        if let Some(table) = self.table(path) {
            for key in &table.keys {
                if let Some((value, _)) = self.value(table, key) {
                    content.insert(key.name.to_owned(), value.clone());
                }
            }
            for named in &table.named {
                let entries = self.entries_of(table, named);
                let entries = entries.map(|(name, value, _)| (name.to_owned(), value.clone()));
                content.insert(named.name.to_owned(), Value::Table(entries.collect()));
            }
        }
        for below in &self.tables {
            let (parent, name) = below.path.rsplit_once('.').unwrap_or(("", &below.path));
            if parent == path {
                content.insert(name.to_owned(), Value::Table(self.content(&below.path)));
            }
        }
        content
    }

    /// The resolved values of a section and of the tables below it, as text, for a fingerprint: of
    /// the keys with these effects alone.
    pub(crate) fn canonical(&self, section: &str, effects: &[Effect]) -> String {
        let mut text = String::new();
        for table in self.tables.iter().filter(|table| {
            table
                .path
                .strip_prefix(section)
                .is_some_and(|rest| matches!(rest.get(..1), None | Some(".")))
        }) {
            for key in table.keys.iter().filter(|key| effects.contains(&key.effect)) {
                if let Some((value, _)) = self.value(table, key) {
                    text += &format!("{}.{} = {value}\n", table.path, key.name);
                }
            }
            for named in table.named.iter().filter(|named| effects.contains(&named.effect)) {
                for (name, value, _) in self.entries_of(table, named) {
                    text += &format!("{}.{}.{name:?} = {value}\n", table.path, named.name);
                }
            }
        }
        text
    }
}

fn bad_value(
    key: &str,
    value: &Value,
    reason: String,
    doc: &'static str,
    origin: Origin,
) -> ConfigError {
    ConfigError::BadValue { origin, key: key.to_owned(), value: value.to_string(), reason, doc }
}
