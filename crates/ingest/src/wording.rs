//! Numbers with their nouns.

/// `1 line`, `2 lines`.
pub(crate) fn count(n: u64, noun: &str) -> String {
    plural(n, noun, &format!("{noun}s"))
}

/// `1 box`, `2 boxes`.
pub(crate) fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
