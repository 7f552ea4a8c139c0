//! Rows between the pass that reads labels and the moment when they can be written: objects wait
//! for the class numbers, issues for their order.

use std::cmp::Ordering;
use std::io::{self, Read, Write};

use ossify_contract::{IssueRow, ObjectRow, Row};
use ossify_sorting::{Ordered, Stored};

use crate::msgpack;

/// Bytes of rows of each kind that wait in memory; more go to a file.
pub(super) const MEMORY_BYTES: usize = 16 << 20;

/// An object that waits for the number of its class.
pub(super) struct WaitingObject(pub ObjectRow);

impl Stored for WaitingObject {
    fn memory_bytes(&self) -> usize {
        self.0.bytes()
    }

    fn write(&self, target: &mut impl Write) -> io::Result<()> {
        msgpack::write(target, &self.0)
    }

    fn read(source: &mut impl Read) -> io::Result<Self> {
        msgpack::read(source).map(WaitingObject)
    }
}

/// An issue that waits for its turn: by file, line and column.
pub(super) struct WaitingIssue(pub IssueRow);

impl Stored for WaitingIssue {
    fn memory_bytes(&self) -> usize {
        self.0.bytes()
    }

    fn write(&self, target: &mut impl Write) -> io::Result<()> {
        msgpack::write(target, &self.0)
    }

    fn read(source: &mut impl Read) -> io::Result<Self> {
        msgpack::read(source).map(WaitingIssue)
    }
}

impl Ordered for WaitingIssue {
    const IS_TOTAL: bool = false;

    fn order(&self, other: &Self) -> Ordering {
        let (a, b) = (&self.0, &other.0);
        (&a.path, a.line, a.column).cmp(&(&b.path, b.line, b.column))
    }
}

#[cfg(test)]
mod tests {
    use ossify_contract::{Action, Severity, Shape, Split};
    use ossify_sorting::{Queue, Sorter};

    use super::*;

    #[test]
    fn objects_come_back_from_a_file_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let row = |line: i32| ObjectRow {
            image_id: format!("train/images/{line}.jpg"),
            split: Split::Train,
            line,
            class_id: 1,
            class_name: "é".into(),
            class_index: None,
            shape: if line % 2 == 0 { Shape::Box } else { Shape::Polygon },
            vertices: (line % 2 == 1).then(|| vec![[0.25, line as f32]]),
            xmin: 0.1,
            ymin: 0.2,
            xmax: 0.3,
            ymax: 0.4,
            area: 0.04,
            repaired: line % 3 == 0,
        };
        let mut objects = Queue::new(folder.path(), 1000);
        (0..1000).for_each(|line| objects.push(WaitingObject(row(line))).unwrap());
        let found: Vec<ObjectRow> = objects.into_records().map(|found| found.unwrap().0).collect();
        assert_eq!(found, (0..1000).map(row).collect::<Vec<_>>());
    }

    #[test]
    fn issues_come_back_in_order_of_their_files_and_lines_and_else_as_they_came() {
        let folder = tempfile::tempdir().unwrap();
        let row = |number: i32| IssueRow {
            split: Split::Train,
            path: format!("{}", number * 7919 % 10),
            line: (number % 3 > 0).then_some(number % 3),
            column: None,
            rule: "r".into(),
            severity: Severity::Note,
            action: Action::Kept,
            message: number.to_string(),
            text: (number % 2 == 0).then(|| "0 0.5\u{1b}".to_owned()),
        };
        let mut issues = Sorter::new(folder.path(), 1000);
        (0..1000).for_each(|number| issues.push(WaitingIssue(row(number))).unwrap());
        let mut expected: Vec<IssueRow> = (0..1000).map(row).collect();
        expected.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
        let found = issues.finish().unwrap().into_records().unwrap();
        assert_eq!(found.map(|found| found.unwrap().0).collect::<Vec<_>>(), expected);
    }
}
