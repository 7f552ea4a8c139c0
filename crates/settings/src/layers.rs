use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::sections::{Key, Settings, keys};

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

/// Prefix of the environment variables that set keys.
const ENVIRONMENT_PREFIX: &str = "OSSIFY__";

/// The configuration while its layers are merged: defaults < conf file < environment < command line.
#[derive(Clone, Debug)]
pub struct Layers {
    keys: Vec<Key>,
    values: BTreeMap<(&'static str, &'static str), (toml::Value, Origin)>,
}

impl Layers {
    /// The built-in defaults.
    pub fn defaults() -> Self {
        let keys = keys();
        let values = keys.iter().map(|key| ((key.section, key.name), (key.default.clone(), Origin::Default))).collect();
        Layers { keys, values }
    }

    /// Lays a conf file over.
    ///
    /// # Errors
    /// Names the file, and the line and column of what does not fit.
    pub fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_path_buf(), source })?;
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
            ConfigError::Syntax { path: path.to_path_buf(), line, column, reason: e.message().to_owned() }
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
            for (key, _) in content {
                let key_name = key.get_ref().as_ref();
                let dotted = format!("{section_name}.{key_name}");
                let Some(value) = values.get(section_name).and_then(|table| table.get(key_name)) else { continue };
                self.set(&dotted, value.clone(), origin(key.span().start))?;
            }
        }
        Ok(())
    }

    /// Lays `OSSIFY__SECTION__KEY` variables over.
    ///
    /// # Errors
    /// Names the variable that does not fit.
    pub fn add_environment(&mut self, variables: impl Iterator<Item = (String, String)>) -> Result<(), ConfigError> {
        let mut found: Vec<_> = variables.filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)).collect();
        found.sort();
        for (name, value) in found {
            let dotted = name[ENVIRONMENT_PREFIX.len()..].to_lowercase().replacen("__", ".", 1);
            let value = self.parse(&dotted, &value);
            self.set(&dotted, value, Origin::Environment(name))?;
        }
        Ok(())
    }

    /// Lays one `SECTION.KEY=VALUE` of the command line over.
    ///
    /// # Errors
    /// Names the argument that does not fit.
    pub fn add_set(&mut self, assignment: &str) -> Result<(), ConfigError> {
        let (dotted, value) = assignment.split_once('=').ok_or_else(|| ConfigError::BadSet(assignment.to_owned()))?;
        let value = self.parse(dotted.trim(), value);
        self.set(dotted.trim(), value, Origin::CommandLine(format!("--set {assignment}")))
    }

    /// Lays a value over that a flag stands for.
    ///
    /// # Errors
    /// Names the flag if the value does not fit.
    pub fn add_flag(&mut self, dotted: &str, value: toml::Value, flag: &str) -> Result<(), ConfigError> {
        self.set(dotted, value, Origin::CommandLine(flag.to_owned()))
    }

    /// A value written outside a file: TOML where it is, else a word without its quotes. A key of type
    /// string takes the text as it is.
    fn parse(&self, dotted: &str, text: &str) -> toml::Value {
        let wants_string = self.key(dotted).is_some_and(|key| key.default.is_str());
        let parsed = toml::from_str::<toml::Table>(&format!("value = {text}")).ok().and_then(|mut table| table.remove("value"));
        match parsed {
            Some(value) if value.is_str() || !wants_string => value,
            _ => toml::Value::String(text.to_owned()),
        }
    }

    fn key(&self, dotted: &str) -> Option<&Key> {
        let (section, name) = dotted.split_once('.')?;
        self.keys.iter().find(|key| key.section == section && key.name == name)
    }

    fn set(&mut self, dotted: &str, value: toml::Value, origin: Origin) -> Result<(), ConfigError> {
        let Some(key) = self.key(dotted) else { return Err(self.unknown(dotted, origin)) };
        // 1 is a fine way to write 1.0
        let value = match (&key.default, value) {
            (toml::Value::Float(_), toml::Value::Integer(whole)) => toml::Value::Float(whole as f64),
            (_, value) => value,
        };
        if let Err(reason) = (key.check)(&value) {
            return Err(ConfigError::BadValue { origin, key: dotted.to_owned(), value: value.to_string(), reason, doc: key.doc });
        }
        self.values.insert((key.section, key.name), (value, origin));
        Ok(())
    }

    fn unknown(&self, written: &str, origin: Origin) -> ConfigError {
        let candidates: Vec<String> = if written.contains('.') {
            self.keys.iter().map(|key| format!("{}.{}", key.section, key.name)).collect()
        } else {
            let mut sections: Vec<String> = self.keys.iter().map(|key| key.section.to_owned()).collect();
            sections.dedup();
            sections.extend(self.keys.iter().map(|key| format!("{}.{}", key.section, key.name)));
            sections
        };
        let last = |dotted: &str| dotted.rsplit('.').next().unwrap_or_default().to_owned();
        let nearness = |candidate: &String| strsim::jaro_winkler(candidate, written).max(0.97 * strsim::jaro_winkler(&last(candidate), &last(written)));
        let nearest = candidates.iter().max_by(|a, b| nearness(a).total_cmp(&nearness(b))).filter(|candidate| nearness(candidate) > 0.75);
        let hint = nearest.map_or_else(
            || "; --print-config lists all keys".to_owned(),
            |near| if near.contains('.') { format!("; did you mean `{near}`?") } else { format!("; did you mean the section [{near}]?") },
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
            if let toml::Value::Table(section) = table.entry(*section).or_insert_with(|| toml::Value::Table(toml::Table::new())) {
                section.insert((*name).to_owned(), value.clone());
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
                section = key.section;
                let _ = writeln!(text, "{}[{section}]", if text.is_empty() { "" } else { "\n" });
            }
            if let Some((value, origin)) = self.values.get(&(key.section, key.name)) {
                let _ = writeln!(text, "{:<44} # {origin}", format!("{} = {value}", key.name));
            }
        }
        text
    }

    /// The resolved values of a section that decide a stage's output, as text, for its fingerprint.
    /// Where the dataset lies, how many threads run and which device was asked for are left out of it.
    pub(crate) fn canonical(&self, section: &str) -> String {
        let counts = |name: &str| !matches!((section, name), ("general", "threads") | ("dataset", "path"));
        let of_section = self.values.iter().filter(|((of, name), _)| *of == section && counts(name));
        of_section.map(|((_, name), (value, _))| format!("{name} = {value}\n")).collect()
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
    fn later_layers_win_and_say_where_they_are_from() {
        let mut layers = with("[train]\nepochs = 7\nbatch_size = 8\nlearning_rate = 1\n").unwrap();
        layers.add_environment([("OSSIFY__TRAIN__BATCH_SIZE".to_owned(), "32".to_owned()), ("HOME".into(), "/".into())].into_iter()).unwrap();
        layers.add_set("train.architecture=densenet-compact").unwrap();
        let settings = layers.resolve().unwrap();
        assert_eq!((settings.train.epochs, settings.train.batch_size, settings.train.learning_rate), (7, 32, 1.0));
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
        assert_eq!(error, "conf/x.toml:3:3: unknown key `train.learning_rat`; did you mean `train.learning_rate`?");
        let error = with("[trian]\nepochs = 7\n").unwrap_err().to_string();
        assert_eq!(error, "conf/x.toml:1:2: unknown key `trian`; did you mean the section [train]?");
        let error = Layers::defaults().add_set("ingest.epochs=3").unwrap_err().to_string();
        assert_eq!(error, "--set ingest.epochs=3: unknown key `ingest.epochs`; did you mean `train.epochs`?");
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
    fn every_default_passes_its_own_check_and_has_a_doc() {
        for key in keys() {
            assert_eq!((key.check)(&key.default), Ok(()), "{}.{}", key.section, key.name);
            assert!(key.doc.len() > 10, "{}.{}", key.section, key.name);
        }
    }
}
