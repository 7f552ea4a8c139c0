//! Ranges of keys. Each says what a value should be, to follow "it should".

use std::collections::HashSet;
use std::fmt::Display;
use std::hash::Hash;
use std::path::Path;

use ossify_contract::Split;
use ossify_storage::{check_local, is_url};

/// What the sentence about a range begins with.
pub(crate) const SHOULD_LIE: &str = "it should lie ";

/// In `low..=high`; NaN never is.
pub(crate) fn between<T: PartialOrd + Display>(value: &T, low: T, high: T) -> Result<(), String> {
    if *value >= low && *value <= high {
        Ok(())
    } else {
        Err(format!("{SHOULD_LIE}between {low} and {high}"))
    }
}

/// At least one split, none twice.
pub(crate) fn splits(values: &[Split]) -> Result<(), String> {
    if values.is_empty() {
        return Err("it should name at least one split".into());
    }
    match repeated(values) {
        Some(split) => Err(format!("it should name each split once, but \"{split}\" is repeated")),
        None => Ok(()),
    }
}

/// A folder of this machine.
pub(crate) fn local_folder(path: &str) -> Result<(), String> {
    let folder = Path::new(path);
    if path.is_empty() || is_url(folder) || check_local(folder).is_err() {
        return Err("it should be a folder of this machine".into());
    }
    Ok(())
}

/// Names of classes: none empty, none twice.
pub(crate) fn class_names(values: &[String]) -> Result<(), String> {
    if let Some(at) = values.iter().position(|name| name.trim().is_empty()) {
        return Err(format!("each class should have a name, but that of class {at} is empty"));
    }
    match repeated(values) {
        Some(name) => Err(format!(
            "each class should have a name of its own, but \"{name}\" is repeated; \
             ingest.merge_rare_into merges classes"
        )),
        None => Ok(()),
    }
}

fn repeated<T: Eq + Hash>(values: &[T]) -> Option<&T> {
    let mut seen = HashSet::new();
    values.iter().find(|value| !seen.insert(*value))
}

/// Up to ten shares, each above 0 and below 1.
pub(crate) fn shares(values: &[f64]) -> Result<(), String> {
    match values.iter().find(|value| !(**value > 0.0 && **value < 1.0)) {
        Some(value) => Err(format!("each should be above 0 and below 1, but one is {value}")),
        None if values.len() > 10 => {
            Err(format!("it should list 10 at most, but lists {}", values.len()))
        }
        None => Ok(()),
    }
}
