//! Invariants of every label file, for the property tests and the fuzz target.

use ossify_diagnostics::Action;
use ossify_ingest::LabelFile;

/// Checks the invariants of a label file.
pub fn check(file: &LabelFile, bytes: &[u8]) {
    assert_eq!(file.lines, file.objects.len() as u64 + file.quarantined, "the ledger adds up");
    let mut last = 0;
    for object in &file.objects {
        assert!(object.line > last, "objects are in order of lines, at most one a line");
        last = object.line;
        let unit_box = object.unit_box;
        assert!(
            0.0 <= unit_box.xmin && unit_box.xmin < unit_box.xmax && unit_box.xmax <= 1.0,
            "{unit_box:?}"
        );
        assert!(
            0.0 <= unit_box.ymin && unit_box.ymin < unit_box.ymax && unit_box.ymax <= 1.0,
            "{unit_box:?}"
        );
        assert!((0.0..=1.0).contains(&object.area), "{}", object.area);
        assert!(
            object.vertices.iter().flatten().flatten().all(|value| (0.0..=1.0).contains(value))
        );
    }
    if !file.is_unreadable {
        let mut dropped: Vec<_> = file
            .findings
            .iter()
            .filter(|finding| finding.action == Action::Dropped)
            .filter_map(|finding| finding.location.line)
            .collect();
        dropped.dedup();
        assert_eq!(dropped.len() as u64, file.quarantined, "each quarantined line has a finding");
        assert!(dropped.iter().all(|line| file.objects.iter().all(|object| object.line != *line)));
    }
    for finding in &file.findings {
        assert!(
            finding
                .location
                .column
                .is_none_or(|column| column >= 1 && column as usize <= bytes.len() + 1)
        );
    }
}
