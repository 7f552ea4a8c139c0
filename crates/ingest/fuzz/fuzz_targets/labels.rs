//! Parses arbitrary bytes as a label file: it never panics, and every line is accounted for.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ossify_ingest::rules::RuleBook;
use ossify_ingest::{ClassNames, LabelRules, parse_labels};

#[path = "../../tests/common/invariants.rs"]
mod invariants;

static RULES: LazyLock<LabelRules> = LazyLock::new(|| LabelRules {
    tolerance: 0.01,
    min_polygon_vertices: 3,
    classes: ClassNames::from_list(["elbow", "forearm", "wrist", "humerus"]),
    book: RuleBook::default(),
});

fuzz_target!(|bytes: &[u8]| {
    invariants::check(&parse_labels("labels/fuzz.txt", bytes, &RULES), bytes);
});
