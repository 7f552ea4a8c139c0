//! Reads a dataset's data.yaml, in the forms that Ultralytics accepts.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use ossify_contract::user_text;
use ossify_diagnostics::printable;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::UserMessageFormatter;

use super::class_names::ClassNames;
use super::error::LayoutError;
use crate::wording::plural;

/// File names of a dataset's description, preferred over any other YAML file.
pub(crate) const USUAL_NAMES: [&str; 4] = ["data.yaml", "data.yml", "dataset.yaml", "dataset.yml"];

/// Largest data.yaml that is read.
const MAX_BYTES: u64 = 16 << 20;

/// A dataset's description.
#[derive(Clone, Debug, Default)]
pub(crate) struct DataYaml {
    /// Path of the file.
    pub file: PathBuf,
    /// `path`: the folder that the splits are relative to.
    pub path: Option<String>,
    /// `train`: folders or lists of images.
    pub train: Vec<String>,
    /// `val`, or `valid`.
    pub valid: Vec<String>,
    /// `test`.
    pub test: Vec<String>,
    /// `names`, if present.
    pub names: Option<ClassNames>,
    /// `nc`, the number of classes.
    pub class_count: Option<u64>,
}

impl DataYaml {
    /// Reads a description.
    ///
    /// # Errors
    /// Fails if the file cannot be read, is not YAML, or contradicts itself.
    pub fn read(file: &Path) -> Result<Self, LayoutError> {
        let invalid = |reason: String| LayoutError::Malformed { path: file.to_path_buf(), reason };
        let size = ossify_storage::stat(file).map_err(LayoutError::io(file))?.bytes();
        if size > MAX_BYTES {
            return Err(invalid(format!(
                "{size} bytes; a dataset's description has a few kilobytes"
            )));
        }
        let bytes = ossify_storage::read(file, MAX_BYTES).map_err(LayoutError::io(file))?;
        let text =
            user_text(file, "description of the dataset", bytes).map_err(LayoutError::NotUtf8)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let described = Self::parse(text).map_err(|unfit| match unfit.at {
            Some((line, column)) => {
                LayoutError::Yaml { path: file.to_path_buf(), line, column, reason: unfit.reason }
            }
            None => invalid(unfit.reason),
        })?;
        Ok(DataYaml { file: file.to_path_buf(), ..described })
    }

    fn parse(text: &str) -> Result<Self, Unfit> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(DataYaml::default());
        }
        let options = serde_saphyr::options! { with_snippet: false };
        let raw: RawYaml = serde_saphyr::from_str_with_options(text, options).map_err(|e| {
            let e = e.without_snippet();
            // The default formatter advises programmers.
            let text = e.render_with_formatter(&UserMessageFormatter);
            let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            let said = line.rsplit_once(" at line ").map_or(line, |(said, _)| said);
            let at = e.location().map(|at| (at.line(), at.column()));
            Unfit { at, reason: printable(&in_words(said)).into_owned() }
        })?;
        let names = raw.names.map(Names::check).transpose()?;
        if let (Some(names), Some(declared)) = (&names, raw.nc)
            && names.len() as u64 != declared
        {
            let reason = format!(
                "names has {} and nc says {declared}; correct one of them",
                plural(names.len() as u64, "class", "classes")
            );
            return Err(Unfit { at: None, reason });
        }
        let valid = if raw.val.0.is_empty() { raw.valid.0 } else { raw.val.0 };
        Ok(DataYaml {
            file: PathBuf::new(),
            path: raw.path,
            train: raw.train.0,
            valid,
            test: raw.test.0,
            names,
            class_count: raw.nc,
        })
    }

    /// Whether it says anything about a dataset at all.
    pub fn describes_a_dataset(&self) -> bool {
        self.names.is_some() || self.class_count.is_some() || self.has_splits()
    }

    /// Whether it names a split.
    pub fn has_splits(&self) -> bool {
        !(self.train.is_empty() && self.valid.is_empty() && self.test.is_empty())
    }
}

/// Why a description cannot be used.
#[derive(Debug, PartialEq)]
struct Unfit {
    /// Line and column, from 1, where they are known.
    at: Option<(u64, u64)>,
    /// What is wrong.
    reason: String,
}

/// What the parser says, in words for those who write datasets.
fn in_words(said: &str) -> String {
    const WORDS: [(&str, &str); 11] = [
        ("expected string scalar", "expected text here, not a list or a map"),
        ("invalid u64", "expected a whole number, 0 or more"),
        (
            "expected mapping start",
            "expected lines with a key and a value, as in `names: [elbow, wrist]`",
        ),
        ("only single YAML document expected", "a second document begins here; keep one"),
        ("null is not allowed here", "there is no value here; add it, or delete the entry"),
        ("ecursive reference", "`*` refers to the value that it is in; write the value out"),
        ("reference to unknown value", "`*` refers to a name that no `&` before it gives"),
        ("tabs disallowed", "there is a tab here; YAML is indented with spaces"),
        (
            "did not find expected",
            "the indentation does not fit; what belongs together begins in the same column",
        ),
        ("YAML merge value", "`<<` needs a map, or a list of maps"),
        ("unexpected character", "there is a character here that YAML does not allow"),
    ];
    if let Some((_, words)) = WORDS.iter().find(|(theirs, _)| said.contains(theirs)) {
        return (*words).to_owned();
    }
    let duplicate = said.strip_prefix("duplicate mapping key ");
    if let Some(key) = duplicate.and_then(|rest| rest.strip_suffix(" is not allowed here")) {
        return format!("{key} is set a second time; set it once");
    }
    let kinds =
        said.strip_prefix("invalid type: ").and_then(|kinds| kinds.split_once(", expected "));
    kinds.map_or(said.to_owned(), |(found, expected)| format!("expected {expected}, found {found}"))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawYaml {
    path: Option<String>,
    train: Sources,
    val: Sources,
    valid: Sources,
    test: Sources,
    names: Option<Names>,
    nc: Option<u64>,
}

/// Nothing, one path, or a list of paths.
#[derive(Default)]
struct Sources(Vec<String>);

impl<'de> Deserialize<'de> for Sources {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SourcesVisitor;
        impl<'de> Visitor<'de> for SourcesVisitor {
            type Value = Sources;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a folder, a list of folders, or a .txt list of images")
            }
            fn visit_str<E>(self, path: &str) -> Result<Sources, E> {
                Ok(Sources(if path.is_empty() { Vec::new() } else { vec![path.to_owned()] }))
            }
            fn visit_unit<E>(self) -> Result<Sources, E> {
                Ok(Sources::default())
            }
            fn visit_none<E>(self) -> Result<Sources, E> {
                Ok(Sources::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Sources, A::Error> {
                let mut paths = Vec::new();
                while let Some(path) = items.next_element()? {
                    paths.push(path);
                }
                Ok(Sources(paths))
            }
        }
        deserializer.deserialize_any(SourcesVisitor)
    }
}

/// Class names as a list, or as a map from ids.
struct Names(Vec<(u64, String)>);

impl Names {
    fn check(self) -> Result<ClassNames, Unfit> {
        let unfit = |reason: String| Unfit { at: None, reason };
        let mut names = BTreeMap::new();
        for (id, name) in self.0 {
            if name.trim().is_empty() {
                return Err(unfit(format!("names: class {id} has no name; give each class one")));
            }
            let id = i16::try_from(id)
                .map_err(|_| unfit(format!("names has class {id}; ids run to {}", i16::MAX)))?;
            names.insert(id, name);
        }
        Ok(ClassNames::from_map(names))
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamesVisitor;
        impl<'de> Visitor<'de> for NamesVisitor {
            type Value = Names;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("class names as a list, or as a map from ids")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = items.next_element()? {
                    names.push((names.len() as u64, name));
                }
                Ok(Names(names))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(entry) = items.next_entry()? {
                    names.push(entry);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_any(NamesVisitor)
    }
}

/// Finds the description in a dataset's folder: a file with a usual name, or else the only YAML
/// file that describes a dataset.
///
/// # Errors
/// Fails if it cannot be read, or if there are several candidates.
pub(crate) fn find(root: &Path) -> Result<Option<DataYaml>, LayoutError> {
    let mut files = ossify_storage::files_in(root).map_err(LayoutError::io(root))?;
    if let Some(file) =
        USUAL_NAMES.iter().map(|name| root.join(name)).find(|file| files.contains(file))
    {
        return DataYaml::read(&file).map(Some);
    }
    files.retain(|file| {
        file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
    });
    let mut described: Vec<DataYaml> = files
        .iter()
        .filter_map(|file| DataYaml::read(file).ok())
        .filter(DataYaml::describes_a_dataset)
        .collect();
    if described.len() > 1 {
        return Err(LayoutError::SeveralYaml {
            files: described.into_iter().map(|yaml| yaml.file).collect(),
        });
    }
    Ok(described.pop())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_a_list_or_a_map() {
        let list = DataYaml::parse("names: ['a', b]\nnc: 2\n").unwrap().names.unwrap();
        let map = DataYaml::parse("names:\n  0: a\n  1: b\n").unwrap().names.unwrap();
        assert_eq!(list, map);
        let gap = DataYaml::parse("names: {0: a, 5: b}").unwrap().names.unwrap();
        assert!(gap.contains(5) && !gap.contains(1));
    }

    #[test]
    fn words_and_numbers_are_names_too() {
        let names = DataYaml::parse("names: [yes, 3, 1.5]").unwrap().names.unwrap();
        assert_eq!(names.iter().map(|(_, name)| name).collect::<Vec<_>>(), ["yes", "3", "1.5"]);
    }

    #[test]
    fn splits_may_be_folders_lists_or_missing() {
        let yaml = DataYaml::parse(
            "train: [a/images, b/images]\nval: list.txt\ntest:\nroboflow:\n  version: 4\n",
        )
        .unwrap();
        assert_eq!(
            (yaml.train.len(), yaml.valid, yaml.test.len()),
            (2, vec!["list.txt".to_owned()], 0)
        );
        assert_eq!(DataYaml::parse("valid: v").unwrap().valid, ["v"]);
        assert!(!DataYaml::parse("# nothing\n").unwrap().describes_a_dataset());
    }

    #[test]
    fn what_does_not_fit_is_said_in_words_with_its_line_and_column() {
        let number = "expected a whole number, 0 or more";
        let no_value = "there is no value here; add it, or delete the entry";
        let names = "expected class names as a list, or as a map from ids, found ";
        for (text, at, reason) in [
            (
                "nc: 3\nnames: [a, b]",
                None,
                "names has 2 classes and nc says 3; correct one of them",
            ),
            ("names: [a, '']", None, "names: class 1 has no name; give each class one"),
            ("names: {0: a, 3: ' '}", None, "names: class 3 has no name; give each class one"),
            ("names: {99999: a}", None, "names has class 99999; ids run to 32767"),
            ("names: [a,\n  b", Some((1, 8)), "unclosed bracket '['"),
            ("names: [a, ~]", Some((1, 12)), no_value),
            ("train: [~]", Some((1, 9)), no_value),
            ("names: [[a], b]", Some((1, 9)), "expected text here, not a list or a map"),
            ("names: [a]\nnc: true", Some((2, 5)), number),
            ("names: {x: a}", Some((1, 9)), number),
            ("names: {-1: a}", Some((1, 9)), number),
            ("nc: 1\n---\nnc: 2", Some((3, 1)), "a second document begins here; keep one"),
            ("nc: 1\nnc: 2", Some((2, 1)), "`nc` is set a second time; set it once"),
            (
                "names: &x [*x]",
                Some((1, 12)),
                "`*` refers to the value that it is in; write the value out",
            ),
            ("names: *x", Some((1, 8)), "`*` refers to a name that no `&` before it gives"),
            ("names:\n\t- a", Some((2, 2)), "there is a tab here; YAML is indented with spaces"),
            (
                "names:\n  - a\n - b",
                Some((3, 2)),
                "the indentation does not fit; what belongs together begins in the same column",
            ),
            (
                "hello",
                Some((1, 1)),
                "expected lines with a key and a value, as in `names: [elbow, wrist]`",
            ),
        ] {
            let reason = reason.to_owned();
            assert_eq!(DataYaml::parse(text).unwrap_err(), Unfit { at, reason }, "{text}");
        }
        for (text, found) in [("names: 3", "integer `3`"), ("names: a", "string \"a\"")] {
            let error = DataYaml::parse(text).unwrap_err();
            assert_eq!(error.reason, format!("{names}{found}"));
        }
        let error = DataYaml::parse("train: {a: b}").unwrap_err();
        let folders = "expected a folder, a list of folders, or a .txt list of images, found map";
        assert_eq!(error.reason, folders);
    }
}
