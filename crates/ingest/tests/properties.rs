//! Properties of the label parser over random input.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use ossify_ingest::rules::RuleBook;
use ossify_ingest::{ClassNames, LabelRules, parse_labels};
use proptest::prelude::*;

#[path = "common/invariants.rs"]
mod invariants;

use invariants::check;

fn rules() -> LabelRules {
    LabelRules {
        tolerance: 0.01,
        min_polygon_vertices: 3,
        classes: ClassNames::from_list(["a", "b", "c", "d"]),
        book: RuleBook::default(),
    }
}

/// Bytes that resemble label files more than random bytes do.
fn nearly_labels() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        4 => (-0.2f64..1.2).prop_map(|value| value.to_string()),
        3 => (0u32..6).prop_map(|value| value.to_string()),
        1 => prop::sample::select(vec!["nan", "-1", "1e400", "4.0", "x", "0,5", "é", "\u{202e}"])
            .prop_map(String::from),
    ];
    let line = prop::collection::vec(token, 0..14).prop_map(|tokens| tokens.join(" "));
    let end = prop_oneof![Just("\n"), Just("\r\n"), Just("\r"), Just("\n\n")];
    prop::collection::vec((line, end), 0..8).prop_map(|lines| {
        lines.into_iter().map(|(line, end)| line + end).collect::<String>().into_bytes()
    })
}

/// Well-formed objects as text, with what they should become.
fn objects() -> impl Strategy<Value = Vec<(i16, Vec<f64>)>> {
    let share = || (0u32..=1_000_000).prop_map(|n| f64::from(n) / 1e6);
    let unit_box = (0.2f64..0.8, 0.2f64..0.8, 0.01f64..0.4, 0.01f64..0.4)
        .prop_map(|(x, y, w, h)| vec![x, y, w, h]);
    let polygon = prop::collection::vec((share(), share()), 3..12)
        .prop_map(|points| points.into_iter().flat_map(|(x, y)| [x, y]).collect());
    prop::collection::vec((0i16..4, prop_oneof![unit_box, polygon]), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_bytes_never_panic_and_the_ledger_adds_up(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        check(&parse_labels("l.txt", &bytes, &rules()), &bytes);
    }

    #[test]
    fn what_is_nearly_a_label_file_never_panics_and_the_ledger_adds_up(bytes in nearly_labels()) {
        check(&parse_labels("l.txt", &bytes, &rules()), &bytes);
    }

    #[test]
    fn a_printed_object_is_parsed_as_itself(objects in objects()) {
        let text: String = objects.iter().map(|(class, values)| {
            let values: Vec<String> = values.iter().map(f64::to_string).collect();
            format!("{class} {}\n", values.join(" "))
        }).collect();
        let first = parse_labels("l.txt", text.as_bytes(), &rules());
        check(&first, text.as_bytes());
        // Polygons print and parse to the same bits. Boxes are stored as corners, so their centres
        // may be rounded, and they are compared within single precision.
        let printed: String = first.objects.iter().map(|object| {
            let values: Vec<String> = match &object.vertices {
                Some(vertices) => vertices.iter().flatten().map(f32::to_string).collect(),
                None => {
                    let [xmin, ymin, xmax, ymax] = object.unit_box.to_array().map(f64::from);
                    [(xmin + xmax) / 2.0, (ymin + ymax) / 2.0, xmax - xmin, ymax - ymin]
                        .iter()
                        .map(f64::to_string)
                        .collect()
                }
            };
            format!("{} {}\n", object.class_id, values.join(" "))
        }).collect();
        let second = parse_labels("l.txt", printed.as_bytes(), &rules());
        let (before, after) = (first.objects.len(), second.objects.len());
        prop_assert_eq!(before, after, "{}\n{:?}", printed, second.findings);
        for (a, b) in first.objects.iter().zip(&second.objects) {
            prop_assert_eq!(a.class_id, b.class_id);
            prop_assert_eq!(&a.vertices, &b.vertices);
            prop_assert_eq!(a.unit_box, b.unit_box);
        }
    }
}
