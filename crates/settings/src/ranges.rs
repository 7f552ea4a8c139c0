//! Ranges of keys. Each says what a value should be, to follow "it should".

use std::fmt::Display;

/// In `low..=high`; NaN never is.
pub(crate) fn between<T: PartialOrd + Display>(value: &T, low: T, high: T) -> Result<(), String> {
    if *value >= low && *value <= high {
        Ok(())
    } else {
        Err(format!("it should lie between {low} and {high}"))
    }
}

/// One of these words.
pub(crate) fn one_of(value: &str, known: &[&str]) -> Result<(), String> {
    if known.contains(&value) {
        return Ok(());
    }
    let quoted: Vec<String> = known.iter().map(|word| format!("\"{word}\"")).collect();
    Err(format!("it should be one of {}", quoted.join(", ")))
}

/// At least one split, none twice.
pub(crate) fn splits(values: &[String]) -> Result<(), String> {
    if values.is_empty() {
        return Err("it should name at least one split".into());
    }
    values.iter().try_for_each(|value| one_of(value, &["train", "valid", "test"]))?;
    match repeated(values) {
        Some(split) => Err(format!("it should name each split once, but \"{split}\" is repeated")),
        None => Ok(()),
    }
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

fn repeated(values: &[String]) -> Option<&String> {
    let mut seen = std::collections::HashSet::new();
    values.iter().find(|value| !seen.insert(*value))
}

/// A device of this machine.
pub(crate) fn device(value: &str) -> Result<(), String> {
    let is_cuda = value.strip_prefix("cuda:").is_some_and(|number| number.parse::<usize>().is_ok());
    if is_cuda || ["auto", "cpu", "flex"].contains(&value) {
        Ok(())
    } else {
        Err("it should be \"auto\", \"cpu\", \"cuda:N\" or \"flex\"".into())
    }
}

/// Up to ten sensitivities, each above 0 and below 1.
pub(crate) fn sensitivities(values: &[f64]) -> Result<(), String> {
    match values.iter().find(|value| !(**value > 0.0 && **value < 1.0)) {
        Some(value) => Err(format!("each should be above 0 and below 1, but one is {value}")),
        None if values.len() > 10 => {
            Err(format!("it should list 10 at most, but lists {}", values.len()))
        }
        None => Ok(()),
    }
}
