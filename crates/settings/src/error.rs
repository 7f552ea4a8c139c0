use std::path::PathBuf;

use ossify_contract::TextError;

use crate::origin::Origin;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The conf file cannot be read.
    #[error(transparent)]
    Unreadable(#[from] TextError),
    /// The work folder cannot be used.
    #[error("cannot use the work folder {}: {source}", path.display())]
    WorkFolder {
        /// Its path or URL.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The dataset's URL cannot be used.
    #[error("cannot use the dataset {}: {source}", path.display())]
    Dataset {
        /// The URL.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The output of the stages would lie among the images and labels, or the other way round.
    #[error(
        "the work folder {} {relation} the dataset {}, which is never written to: name another \
            folder with --out",
        out.display(), dataset.display()
    )]
    OutInDataset {
        /// The work folder.
        out: PathBuf,
        /// How the first lies to the second, as in "is".
        relation: &'static str,
        /// The dataset.
        dataset: PathBuf,
    },
    /// The conf file's name without its ending is not a name of a folder.
    #[error(
        "the conf file {} gives the work folder no name: rename it, or name the work folder with \
            --out",
        .0.display()
    )]
    NoWorkFolder(PathBuf),
    /// A variable of the environment that sets a key and is not text.
    #[error("environment variable {0}: its name or its value is not UTF-8")]
    NotUtf8(String),
    /// Two variables of the environment, which differ in upper and lower case, set one key.
    #[error(
        "environment variables {first} and {second}: both set {key}, with another value each; \
            unset one of them"
    )]
    SetTwice {
        /// The path of the key.
        key: String,
        /// A variable.
        first: String,
        /// Another.
        second: String,
    },
    /// The conf file is not TOML.
    #[error("{origin}: not valid TOML: {reason}")]
    Syntax {
        /// Where it goes wrong.
        origin: Origin,
        /// What the parser says.
        reason: String,
    },
    /// A number that would not be kept as it is written.
    #[error("{origin}: {key} = {number}: {reason}")]
    BadNumber {
        /// Where the number is.
        origin: Origin,
        /// The path of its key.
        key: String,
        /// As it was written.
        number: String,
        /// Which numbers there are.
        reason: &'static str,
    },
    /// A key that does not exist.
    #[error("{origin}: unknown key `{key}`{hint}")]
    UnknownKey {
        /// Where it is.
        origin: Origin,
        /// As it was written.
        key: String,
        /// The nearest known key, as a sentence.
        hint: String,
    },
    /// Keys that have a new name since an earlier release.
    #[error("{}", lines(renamed))]
    RenamedKeys {
        /// Each key, in the order in which they were found.
        renamed: Vec<RenamedKey>,
    },
    /// A value that does not fit its key.
    #[error("{origin}: {key} = {value}: {reason}{}", meaning(key, doc))]
    BadValue {
        /// Where it is.
        origin: Origin,
        /// The path of the key.
        key: String,
        /// As it was written.
        value: String,
        /// Why not.
        reason: String,
        /// What the key means; empty for a table of keys.
        doc: &'static str,
    },
    /// A `--set` without an equals sign.
    #[error("--set {0}: should be SECTION.KEY=VALUE, as in --set train.epochs=10")]
    BadSet(String),
}

/// A key by the name that it had in an earlier release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenamedKey {
    /// Where it is.
    pub origin: Origin,
    /// As it was written.
    pub old: String,
    /// Its path now.
    pub new: &'static str,
}

impl std::fmt::Display for RenamedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} is now {}", self.origin, self.old, self.new)
    }
}

/// What a key means, as a line below the error.
fn meaning(key: &str, doc: &str) -> String {
    if doc.is_empty() { String::new() } else { format!("\n  {key}: {doc}") }
}

fn lines(renamed: &[RenamedKey]) -> String {
    renamed.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
