use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::sections::{Key, NamedTable, Settings, keys, tables};

/// Where a value of the configuration came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// The conf file, with line and column of the key.
    File {
        /// The conf file.
        path: PathBuf,
        /// Line from 1.
        line: usize,
        /// Column from 1, in characters.
        column: usize,
    },
    /// An environment variable.
    Environment(String),
    /// `--set`, or a flag that stands for one.
    CommandLine(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Default => write!(f, "default"),
            Origin::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Origin::Environment(name) => write!(f, "environment variable {name}"),
            Origin::CommandLine(text) => write!(f, "{text}"),
        }
    }
}

/// Why the configuration cannot be used. Each variant names the place.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The conf file cannot be read.
    #[error("cannot read the conf file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The work folder's URL cannot be used.
    #[error("cannot use the work folder {}: {source}", path.display())]
    WorkFolder {
        /// The URL.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The conf file is no TOML.
    #[error("{}:{line}:{column}: not valid TOML: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line from 1.
        line: usize,
        /// Column from 1.
        column: usize,
        /// What the parser says.
        reason: String,
    },
    /// A key that does not exist.
    #[error("{origin}: unknown key `{key}`{hint}")]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// As it was written.
        key: String,
        /// The nearest known key, as a sentence.
        hint: String,
    },
    /// A value that does not fit its key.
    #[error("{origin}: {key} = {value}: {reason}\n  {key}: {doc}")]
    BadValue {
        /// Where it stands.
        origin: Origin,
        /// `section.key`.
        key: String,
        /// As it was written.
        value: String,
        /// Why not.
        reason: String,
        /// What the key means.
        doc: &'static str,
    },
    /// A `--set` without an equals sign.
    #[error("--set {0}: should be SECTION.KEY=VALUE, as in --set train.epochs=10")]
    BadSet(String),
}

/// The name that is most like what was written, if one is near enough to be meant.
pub fn nearest<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    nearest_by(names, |name| strsim::jaro_winkler(name, written))
}

fn nearest_by<'a>(
    names: impl Iterator<Item = &'a str>,
    nearness: impl Fn(&&'a str) -> f64,
) -> Option<&'a str> {
    names.max_by(|a, b| nearness(a).total_cmp(&nearness(b))).filter(|name| nearness(name) > 0.75)
}

/// Prefix of the environment variables that set keys.
const ENVIRONMENT_PREFIX: &str = "OSSIFY__";

/// The configuration while its layers are merged: defaults < conf file < environment < command
/// line.
#[derive(Clone, Debug)]
pub struct Layers {
    keys: Vec<Key>,
    values: BTreeMap<(&'static str, &'static str), (toml::Value, Origin)>,
    tables: Vec<NamedTable>,
    /// Entries of the tables, by the table's index.
    entries: BTreeMap<(usize, String), (toml::Value, Origin)>,
}

impl Layers {
    /// The built-in defaults.
    pub fn defaults() -> Self {
        let keys = keys();
        let values = keys
            .iter()
            .map(|key| ((key.section, key.name), (key.default.clone(), Origin::Default)))
            .collect();
        let tables = tables();
        let default = |(at, table): (usize, &NamedTable)| {
            table
                .default
                .clone()
                .into_iter()
                .map(move |(name, value)| ((at, name), (value, Origin::Default)))
        };
        let entries = tables.iter().enumerate().flat_map(default).collect();
        Layers { keys, values, tables, entries }
    }

    /// Lays a conf file over.
    ///
    /// # Errors
    /// Names the file, and the line and column of what does not fit.
    pub fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_path_buf(), source })?;
        self.add_text(path, &text)
    }

    fn add_text(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let place = |offset: usize| {
            let before = &text[..text.floor_char_boundary(offset)];
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
        };
        let origin = |offset: usize| {
            let (line, column) = place(offset);
            Origin::File { path: path.to_path_buf(), line, column }
        };
        let table = toml::de::DeTable::parse(text).map_err(|e| {
            let (line, column) = place(e.span().map_or(0, |span| span.start));
            ConfigError::Syntax {
                path: path.to_path_buf(),
                line,
                column,
                reason: e.message().to_owned(),
            }
        })?;
        let values: toml::Table = toml::from_str(text).unwrap_or_default();
        for (section, content) in table.get_ref() {
            let section_name = section.get_ref().as_ref();
            let Some(content) = content.get_ref().as_table() else {
                return Err(self.unknown(section_name, origin(section.span().start)));
            };
            if !self.keys.iter().any(|key| key.section == section_name) {
                return Err(self.unknown(section_name, origin(section.span().start)));
            }
            for (key, parsed) in content {
                let key_name = key.get_ref().as_ref();
                let dotted = format!("{section_name}.{key_name}");
                let Some(value) = values.get(section_name).and_then(|table| table.get(key_name))
                else {
                    continue;
                };
                let entries =
                    self.table(&dotted).zip(parsed.get_ref().as_table()).zip(value.as_table());
                let Some(((at, spans), entries)) = entries else {
                    self.set(&dotted, value.clone(), origin(key.span().start))?;
                    continue;
                };
                for (name, _) in spans {
                    let start = name.span().start;
                    let name = name.get_ref().as_ref();
                    if let Some(value) = entries.get(name) {
                        self.set_entry(at, name, value.clone(), origin(start))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Lays `OSSIFY__SECTION__KEY` variables over.
    ///
    /// # Errors
    /// Names the variable that does not fit.
    pub fn add_environment(
        &mut self,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        let mut found: Vec<_> =
            variables.filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)).collect();
        found.sort();
        for (name, value) in found {
            let dotted = self.variable_key(&name[ENVIRONMENT_PREFIX.len()..].to_lowercase());
            let value = self.parse(&dotted, &value);
            self.set(&dotted, value, Origin::Environment(name))?;
        }
        Ok(())
    }

    /// `section.key`, or `section.table.name`, of a variable's name. Names may have dashes, which
    /// variables have not.
    fn variable_key(&self, variable: &str) -> String {
        let dotted = variable.replacen("__", ".", 1);
        match dotted.rsplit_once("__").map(|(table, name)| (table, self.table(table), name)) {
            Some((table, Some(at), name)) => {
                let known =
                    self.tables[at].known.iter().find(|known| known.replace('-', "_") == name);
                format!("{table}.{}", known.copied().unwrap_or(name))
            }
            _ => dotted,
        }
    }

    /// Lays one `SECTION.KEY=VALUE` of the command line over.
    ///
    /// # Errors
    /// Names the argument that does not fit.
    pub fn add_set(&mut self, assignment: &str) -> Result<(), ConfigError> {
        let (dotted, value) =
            assignment.split_once('=').ok_or_else(|| ConfigError::BadSet(assignment.to_owned()))?;
        let value = self.parse(dotted.trim(), value);
        self.set(dotted.trim(), value, Origin::CommandLine(format!("--set {assignment}")))
    }

    /// Lays a value over that a flag stands for.
    ///
    /// # Errors
    /// Names the flag if the value does not fit.
    pub fn add_flag(
        &mut self,
        dotted: &str,
        value: toml::Value,
        flag: &str,
    ) -> Result<(), ConfigError> {
        self.set(dotted, value, Origin::CommandLine(flag.to_owned()))
    }

    /// A value written outside a file: TOML where it is, else a word without its quotes. A key of
    /// type string takes the text as it is.
    fn parse(&self, dotted: &str, text: &str) -> toml::Value {
        let wants_string = self.key(dotted).is_some_and(|key| key.default.is_str());
        let parsed = toml::from_str::<toml::Table>(&format!("value = {text}"))
            .ok()
            .and_then(|mut table| table.remove("value"));
        match parsed {
            Some(value) if value.is_str() || !wants_string => value,
            _ => toml::Value::String(text.to_owned()),
        }
    }

    fn key(&self, dotted: &str) -> Option<&Key> {
        let (section, name) = dotted.split_once('.')?;
        self.keys.iter().find(|key| key.section == section && key.name == name)
    }

    /// The table and the name of an entry written as `section.table.name`.
    fn entry(&self, dotted: &str) -> Option<(usize, String)> {
        let (section, rest) = dotted.split_once('.')?;
        let (table, name) = rest.split_once('.')?;
        Some((self.table(&format!("{section}.{table}"))?, name.trim_matches('"').to_owned()))
    }

    /// The index of a table of named entries.
    fn table(&self, dotted: &str) -> Option<usize> {
        self.tables
            .iter()
            .position(|table| dotted.split_once('.') == Some((table.section, table.name)))
    }

    /// The entries of the table at this index, in order of their names.
    fn entries_of(&self, at: usize) -> impl Iterator<Item = (&str, &toml::Value, &Origin)> {
        let of_table = self.entries.range((at, String::new())..(at + 1, String::new()));
        of_table.map(|((_, name), (value, origin))| (name.as_str(), value, origin))
    }

    fn set_entry(
        &mut self,
        at: usize,
        name: &str,
        value: toml::Value,
        origin: Origin,
    ) -> Result<(), ConfigError> {
        let table = &self.tables[at];
        let key = format!("{}.{}.{name}", table.section, table.name);
        if !table.known.is_empty() && !table.known.contains(&name) {
            let hint = nearest(name, table.known.iter().copied()).map_or_else(
                || format!("; its names are {}", table.known.join(", ")),
                |near| format!("; did you mean `{near}`?"),
            );
            return Err(ConfigError::UnknownKey { origin, key, hint });
        }
        if let Err(reason) = (table.check)(name, &value) {
            return Err(ConfigError::BadValue {
                origin,
                key,
                value: value.to_string(),
                reason,
                doc: table.doc,
            });
        }
        self.entries.insert((at, name.to_owned()), (value, origin));
        Ok(())
    }

    fn set(&mut self, dotted: &str, value: toml::Value, origin: Origin) -> Result<(), ConfigError> {
        if let Some((at, name)) = self.entry(dotted) {
            return self.set_entry(at, &name, value, origin);
        }
        if let Some(at) = self.table(dotted) {
            let toml::Value::Table(entries) = value else {
                let (value, doc) = (value.to_string(), self.tables[at].doc);
                let reason = "this is a table of names, as in { \"name\" = value }".to_owned();
                return Err(ConfigError::BadValue {
                    origin,
                    key: dotted.to_owned(),
                    value,
                    reason,
                    doc,
                });
            };
            return entries
                .into_iter()
                .try_for_each(|(name, value)| self.set_entry(at, &name, value, origin.clone()));
        }
        let Some(key) = self.key(dotted) else { return Err(self.unknown(dotted, origin)) };
        // 1 is a fine way to write 1.0
        let value = match (&key.default, value) {
            (toml::Value::Float(_), toml::Value::Integer(whole)) => {
                toml::Value::Float(whole as f64)
            }
            (_, value) => value,
        };
        if let Err(reason) = (key.check)(&value) {
            return Err(ConfigError::BadValue {
                origin,
                key: dotted.to_owned(),
                value: value.to_string(),
                reason,
                doc: key.doc,
            });
        }
        self.values.insert((key.section, key.name), (value, origin));
        Ok(())
    }

    fn unknown(&self, written: &str, origin: Origin) -> ConfigError {
        let candidates: Vec<String> = if written.contains('.') {
            let tables =
                self.tables.iter().map(|table| format!("{}.{}", table.section, table.name));
            self.keys
                .iter()
                .map(|key| format!("{}.{}", key.section, key.name))
                .chain(tables)
                .collect()
        } else {
            let mut sections: Vec<String> =
                self.keys.iter().map(|key| key.section.to_owned()).collect();
            sections.dedup();
            sections.extend(self.keys.iter().map(|key| format!("{}.{}", key.section, key.name)));
            sections
        };
        let last = |dotted: &str| dotted.rsplit('.').next().unwrap_or_default().to_owned();
        let nearness = |candidate: &&str| {
            strsim::jaro_winkler(candidate, written)
                .max(0.97 * strsim::jaro_winkler(&last(candidate), &last(written)))
        };
        let nearest = nearest_by(candidates.iter().map(String::as_str), nearness);
        let hint = nearest.map_or_else(
            || "; --print-config lists all keys".to_owned(),
            |near| {
                if near.contains('.') {
                    format!("; did you mean `{near}`?")
                } else {
                    format!("; did you mean the section [{near}]?")
                }
            },
        );
        ConfigError::UnknownKey { origin, key: written.to_owned(), hint }
    }

    /// The merged result.
    ///
    /// # Errors
    /// None that the single layers did not already report.
    pub fn resolve(&self) -> Result<Settings, ConfigError> {
        let mut table = toml::Table::new();
        for ((section, name), (value, _)) in &self.values {
            if let toml::Value::Table(section) =
                table.entry(*section).or_insert_with(|| toml::Value::Table(toml::Table::new()))
            {
                section.insert((*name).to_owned(), value.clone());
            }
        }
        for (at, named) in self.tables.iter().enumerate() {
            let entries = self
                .entries_of(at)
                .map(|(name, value, _)| (name.to_owned(), value.clone()))
                .collect();
            if let Some(toml::Value::Table(section)) = table.get_mut(named.section) {
                section.insert(named.name.to_owned(), toml::Value::Table(entries));
            }
        }
        table.try_into().map_err(|e: toml::de::Error| ConfigError::BadValue {
            origin: Origin::Default,
            key: "configuration".into(),
            value: String::new(),
            reason: e.message().to_owned(),
            doc: "",
        })
    }

    /// The merged result as a conf file, each key with where its value came from.
    pub fn print(&self) -> String {
        let mut text = String::new();
        let mut section = "";
        for key in &self.keys {
            if key.section != section {
                self.print_tables(section, &mut text);
                section = key.section;
                let _ = writeln!(text, "{}[{section}]", if text.is_empty() { "" } else { "\n" });
            }
            if let Some((value, origin)) = self.values.get(&(key.section, key.name)) {
                let _ = writeln!(text, "{:<44} # {origin}", format!("{} = {value}", key.name));
            }
        }
        self.print_tables(section, &mut text);
        text
    }

    fn print_tables(&self, section: &str, text: &mut String) {
        for (at, table) in
            self.tables.iter().enumerate().filter(|(_, table)| table.section == section)
        {
            let _ = writeln!(text, "\n[{section}.{}]", table.name);
            for (name, value, origin) in self.entries_of(at) {
                let is_bare = name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
                let name = if is_bare && !name.is_empty() {
                    name.to_owned()
                } else {
                    toml::Value::String(name.to_owned()).to_string()
                };
                let _ = writeln!(text, "{:<44} # {origin}", format!("{name} = {value}"));
            }
        }
    }

    /// The resolved values of a section that decide a stage's output, as text, for its fingerprint.
    /// Where the dataset lies, how many threads run and which device was asked for are left out of
    /// it.
    pub(crate) fn canonical(&self, section: &str) -> String {
        let counts =
            |name: &str| !matches!((section, name), ("general", "threads") | ("dataset", "path"));
        let of_section =
            self.values.iter().filter(|((of, name), _)| *of == section && counts(name));
        let entries =
            self.entries.iter().filter(|((at, _), _)| self.tables[*at].section == section);
        let values = of_section.map(|((_, name), (value, _))| format!("{name} = {value}\n"));
        values
            .chain(entries.map(|((at, name), (value, _))| {
                format!("{}.{name:?} = {value}\n", self.tables[*at].name)
            }))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Result<Layers, ConfigError> {
        let mut layers = Layers::defaults();
        layers.add_text(Path::new("conf/x.toml"), text)?;
        Ok(layers)
    }

    #[test]
    fn margins_are_numbers_or_off() {
        let mut layers = with("[evaluate.max_drop]\naccuracy = 0.02\nap50 = \"off\"\n").unwrap();
        layers.add_set("evaluate.max_drop.mean_iou=off").unwrap();
        layers.add_set("evaluate.max_drop.accuracy=1").unwrap();
        let margins = layers.resolve().unwrap().evaluate.max_drop;
        let most = [margins.accuracy, margins.macro_f1, margins.mean_iou, margins.ap50]
            .map(crate::Margin::most);
        assert_eq!(most, [Some(1.0), Some(0.0), None, None]);
        for (assignment, reason) in [
            ("evaluate.max_drop.accuracy=2", "2 is not within 0 to 1"),
            ("evaluate.max_drop.accuracy=none", "it may be a number from 0 to 1, or \"off\""),
            ("evaluate.max_drop.acuracy=0", "did you mean `accuracy`?"),
            (
                "evaluate.drop_test=sure",
                "unknown variant `sure`, expected one of `measured`, `clear`, `possible`",
            ),
        ] {
            let error = layers.clone().add_set(assignment).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn later_layers_win_and_say_where_they_are_from() {
        let mut layers = with("[train]\nepochs = 7\nbatch_size = 8\nlearning_rate = 1\n").unwrap();
        layers
            .add_environment(
                [
                    ("OSSIFY__TRAIN__BATCH_SIZE".to_owned(), "32".to_owned()),
                    ("HOME".into(), "/".into()),
                ]
                .into_iter(),
            )
            .unwrap();
        layers.add_set("train.architecture=densenet-compact").unwrap();
        let settings = layers.resolve().unwrap();
        assert_eq!(
            (settings.train.epochs, settings.train.batch_size, settings.train.learning_rate),
            (7, 32, 1.0)
        );
        assert_eq!(settings.train.architecture, "densenet-compact");
        let printed = layers.print();
        for expected in [
            "epochs = 7                                   # conf/x.toml:2:1",
            "# environment variable OSSIFY__TRAIN__BATCH_SIZE",
            "# --set train.architecture=densenet-compact",
        ] {
            assert!(printed.contains(expected), "{expected} not in\n{printed}");
        }
        let mut again = Layers::defaults();
        again.add_text(Path::new("printed"), &printed).unwrap();
        assert_eq!(again.resolve().unwrap(), settings);
    }

    #[test]
    fn an_unknown_key_names_its_place_and_the_nearest_key() {
        let error = with("[train]\nepochs = 7\n  learning_rat = 0.1\n").unwrap_err().to_string();
        assert_eq!(
            error,
            "conf/x.toml:3:3: unknown key `train.learning_rat`; did you mean `train.learning_rate`?"
        );
        let error = with("[trian]\nepochs = 7\n").unwrap_err().to_string();
        assert_eq!(
            error,
            "conf/x.toml:1:2: unknown key `trian`; did you mean the section [train]?"
        );
        let error = Layers::defaults().add_set("ingest.epochs=3").unwrap_err().to_string();
        assert_eq!(
            error,
            "--set ingest.epochs=3: unknown key `ingest.epochs`; did you mean `train.epochs`?"
        );
    }

    #[test]
    fn a_value_that_does_not_fit_says_why_and_what_the_key_means() {
        let error = Layers::defaults().add_set("ingest.tolerance=2").unwrap_err().to_string();
        assert!(error.starts_with("--set ingest.tolerance=2: ingest.tolerance = 2.0: 2 is not within 0 to 1\n  ingest.tolerance: How far"), "{error}");
        let error = Layers::defaults().add_set("resize.geometry=squash").unwrap_err().to_string();
        assert!(error.contains("squash") && error.contains("letterbox"), "{error}");
        let error = with("[train\n").unwrap_err().to_string();
        assert!(error.starts_with("conf/x.toml:1:7: not valid TOML"), "{error}");
    }

    #[test]
    fn entries_of_tables_are_set_one_by_one_from_everywhere() {
        let mut layers = with("[ingest.rules]\nmixed-shapes = \"off\"\n\n[ingest]\nmerge_rare_into = { \"left wrist\" = \"wrist\" }\n").unwrap();
        layers
            .add_environment(
                [("OSSIFY__INGEST__RULES__BOX_CLIPPED".to_owned(), "error".to_owned())].into_iter(),
            )
            .unwrap();
        layers.add_set("ingest.rules.zero-area=note").unwrap();
        layers.add_set("ingest.max_findings={class-unknown = 3}").unwrap();
        layers.add_set("ingest.merge_rare_into.elbow=wrist").unwrap();
        let ingest = layers.resolve().unwrap().ingest;
        let level = |rule: &str| ingest.rules.level(rule).as_str();
        assert_eq!(
            ["mixed-shapes", "box-clipped", "zero-area", "class-unknown"].map(level),
            ["off", "error", "note", "error"]
        );
        assert_eq!(
            ingest.max_findings.into_iter().collect::<Vec<_>>(),
            [("class-unknown".to_owned(), 3)]
        );
        assert_eq!(ingest.merge_rare_into.keys().collect::<Vec<_>>(), ["elbow", "left wrist"]);
        let printed = layers.print();
        for expected in [
            "mixed-shapes = \"off\"                         # conf/x.toml:2:1",
            "\"left wrist\" = \"wrist\"",
        ] {
            assert!(printed.contains(expected), "{expected} not in\n{printed}");
        }
        assert!(layers.canonical("ingest").contains("rules.\"mixed-shapes\" = \"off\""));
        let mut again = Layers::defaults();
        again.add_text(Path::new("printed"), &printed).unwrap();
        assert_eq!(again.resolve().unwrap(), layers.resolve().unwrap());
    }

    #[test]
    fn a_rule_or_level_that_does_not_fit_is_told() {
        let error = with("[ingest.rules]\ncoordinate-cuont = \"off\"\n").unwrap_err().to_string();
        assert_eq!(
            error,
            "conf/x.toml:2:1: unknown key `ingest.rules.coordinate-cuont`; did you mean `coordinate-count`?"
        );
        let error = with("[ingest]\nrules = 3\n").unwrap_err().to_string();
        assert!(
            error.starts_with("conf/x.toml:2:1: ingest.rules = 3: this is a table of names"),
            "{error}"
        );
        let refused = |set: &str| {
            Layers::defaults()
                .add_set(set)
                .unwrap_err()
                .to_string()
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        for (set, reason) in [
            (
                "ingest.rules.coordinate-count=off",
                "what it finds cannot be used, and nothing is left out in silence; it may be note, warn, error",
            ),
            (
                "ingest.rules.class-unknown=error+keep",
                "what it finds cannot be kept, and is dropped at every level; it may be note, warn, error",
            ),
            (
                "ingest.rules.mixed-shapes=warn+drop",
                "it decides nothing about lines; it may be off, note, warn, error",
            ),
            (
                "ingest.rules.box-clipped=loud",
                "it may be off, note, warn, error, note+drop, warn+drop, error+keep",
            ),
            ("ingest.max_findings.box-clipped=-1", "invalid value: integer `-1`, expected u64"),
        ] {
            assert!(refused(set).ends_with(reason), "{}", refused(set));
        }
    }

    #[test]
    fn every_default_passes_its_own_check_and_has_a_doc() {
        for key in keys() {
            assert_eq!((key.check)(&key.default), Ok(()), "{}.{}", key.section, key.name);
            assert!(key.doc.len() > 10, "{}.{}", key.section, key.name);
        }
    }
}
