//! The classes of a dataset: their names, how often they occur, and which are too rare to train.

use std::collections::BTreeMap;

use ossify_contract::{ClassRow, Split};
use ossify_diagnostics::{Finding, Place};

use crate::label::{LabelObject, count};
use crate::rules::Rule;

/// Names by class id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassNames {
    names: BTreeMap<i16, String>,
}

impl ClassNames {
    /// Names of ids that count from 0.
    pub fn from_list<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        ClassNames { names: (0..=i16::MAX).zip(names.into_iter().map(Into::into)).collect() }
    }

    /// Names of any ids.
    pub fn from_map(names: BTreeMap<i16, String>) -> Self {
        ClassNames { names }
    }

    /// Gives the classes other names, in order of their ids; `None` where their number differs.
    pub fn renamed(&self, names: &[String]) -> Option<Self> {
        (names.len() == self.names.len()).then(|| ClassNames { names: self.names.keys().copied().zip(names.iter().cloned()).collect() })
    }

    /// Whether there is a class of this id.
    pub fn contains(&self, id: i16) -> bool {
        self.names.contains_key(&id)
    }

    /// The class's name.
    pub fn name(&self, id: i16) -> &str {
        self.names.get(&id).map_or("", String::as_str)
    }

    /// The id of the class with this name, letters' case aside.
    pub fn id_of(&self, name: &str) -> Option<i16> {
        self.names.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(id, _)| *id)
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no class.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Ids and names in order of ids.
    pub fn iter(&self) -> impl Iterator<Item = (i16, &str)> {
        self.names.iter().map(|(id, name)| (*id, name.as_str()))
    }

    /// Two ids that share a name, if any do.
    pub fn shared_name(&self) -> Option<(i16, i16, &str)> {
        let mut seen = BTreeMap::new();
        self.iter().find_map(|(id, name)| seen.insert(name, id).map(|earlier| (earlier, id, name)))
    }

    /// The ids that there are, as a clause.
    pub(crate) fn extent(&self) -> String {
        match (self.names.first_key_value(), self.names.last_key_value()) {
            (Some((first, _)), Some((last, _))) => {
                format!("the dataset has {}, ids {first} to {last}", crate::label::plural(self.len() as u64, "class", "classes"))
            }
            _ => "the dataset has no classes".to_owned(),
        }
    }
}

/// Objects and images of one class in one split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassCount {
    /// Accepted objects.
    pub objects: u64,
    /// Images with at least one of them.
    pub images: u64,
}

/// How often each class occurs in each split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassCounts {
    counts: BTreeMap<(i16, Split), ClassCount>,
}

impl ClassCounts {
    /// Counts an image's objects.
    pub fn add_image(&mut self, split: Split, objects: &[LabelObject]) {
        let mut classes: Vec<i16> = objects.iter().map(|object| object.class_id).collect();
        classes.sort_unstable();
        for same in classes.chunk_by(|a, b| a == b) {
            let count = self.counts.entry((same[0], split)).or_default();
            count.objects += same.len() as u64;
            count.images += 1;
        }
    }

    /// The count of a class in a split.
    pub fn get(&self, class_id: i16, split: Split) -> ClassCount {
        self.counts.get(&(class_id, split)).copied().unwrap_or_default()
    }
}

/// Decides which classes are trained and numbers them from 0 in order of their ids. A class with fewer
/// than `min_objects` objects in train is filtered; without a train split none is, as there is nothing
/// to train.
pub fn number_classes(names: &ClassNames, counts: &ClassCounts, min_objects: u64, has_train: bool) -> Vec<ClassRow> {
    let mut next_index = 0;
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    names
        .iter()
        .map(|(class_id, class_name)| {
            let [train, valid, test] = Split::ALL.map(|split| counts.get(class_id, split));
            let kept = !has_train || train.objects >= min_objects;
            let reason = (!kept).then(|| format!("{} in train; ingest.min_objects_per_class is {min_objects}", count(train.objects, "object")));
            let class_index = kept.then_some(next_index);
            next_index += i16::from(kept);
            ClassRow {
                class_id,
                class_name: class_name.to_owned(),
                class_index,
                train_objects: signed(train.objects),
                valid_objects: signed(valid.objects),
                test_objects: signed(test.objects),
                train_images: signed(train.images),
                valid_images: signed(valid.images),
                test_images: signed(test.images),
                kept,
                reason,
            }
        })
        .collect()
}

/// A finding for each class that was filtered; `place` is where the classes are named.
pub fn rare_findings(rows: &[ClassRow], place: &str) -> Vec<Finding> {
    let page = Rule::ClassRare.page();
    rows.iter()
        .filter_map(|row| {
            let reason = row.reason.as_ref()?;
            let message = format!("class {} `{}` is filtered: {reason}", row.class_id, row.class_name);
            let objects = count((row.train_objects + row.valid_objects + row.test_objects).unsigned_abs(), "object");
            let finding = Finding::new(page.name, page.severity, page.action, Place::file(place), message)
                .with_note(format!("{objects} over all splits stay in objects.parquet without a class_index"))
                .with_help("label more examples, or lower ingest.min_objects_per_class");
            Some(finding)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ossify_contract::UnitBox;

    fn object(class_id: i16) -> LabelObject {
        LabelObject { line: 1, class_id, vertices: None, unit_box: UnitBox::default(), area: 0.0, repaired: false }
    }

    #[test]
    fn a_rare_class_is_filtered_and_the_others_are_renumbered() {
        let names = ClassNames::from_list(["a", "b", "c"]);
        let mut counts = ClassCounts::default();
        counts.add_image(Split::Train, &[object(0), object(0), object(2)]);
        counts.add_image(Split::Train, &[object(0), object(2)]);
        counts.add_image(Split::Valid, &[object(1), object(1)]);
        let rows = number_classes(&names, &counts, 2, true);
        assert_eq!(rows.iter().map(|row| row.class_index).collect::<Vec<_>>(), [Some(0), None, Some(1)]);
        assert_eq!((rows[0].train_objects, rows[0].train_images), (3, 2));
        assert_eq!(rows[1].reason.as_deref(), Some("0 objects in train; ingest.min_objects_per_class is 2"));
        assert_eq!(rare_findings(&rows, "data.yaml").len(), 1);
        assert!(number_classes(&names, &counts, 2, false).iter().all(|row| row.kept));
    }

    #[test]
    fn an_image_of_many_objects_counts_once_for_each_class() {
        let mut objects = vec![object(1)];
        objects.extend(std::iter::repeat_with(|| object(0)).take(200));
        objects.push(object(1));
        let mut counts = ClassCounts::default();
        counts.add_image(Split::Train, &objects);
        assert_eq!(counts.get(1, Split::Train), ClassCount { objects: 2, images: 1 });
        assert_eq!(counts.get(0, Split::Train), ClassCount { objects: 200, images: 1 });
    }
}
