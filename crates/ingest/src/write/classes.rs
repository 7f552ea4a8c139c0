//! Counts how often the classes of a dataset occur, and decides which are too rare to train.

use std::collections::{BTreeMap, HashMap};

use ossify_contract::{ClassRow, Split};
use ossify_diagnostics::{Finding, Location, printable};
use ossify_settings::{IngestSettings, RareClasses};

use crate::find::class_names::ClassNames;
use crate::read::object::LabelObject;
use crate::rules::{Rule, RuleBook};
use crate::wording::count;

/// Objects and images of one class in one split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClassCount {
    /// Accepted objects.
    pub objects: u64,
    /// Images with at least one of them.
    pub images: u64,
}

/// How often each class occurs in each split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClassCounts {
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

/// Which classes are rare, and what to do about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RarePolicy {
    min_objects: u64,
    min_images: u64,
    is_filtered: bool,
    merges: BTreeMap<i16, i16>,
}

impl RarePolicy {
    /// The policy of the configuration.
    ///
    /// # Errors
    /// Fails if `merge_rare_into` names a class that does not exist or is itself merged.
    pub fn new(settings: &IngestSettings, names: &ClassNames) -> Result<Self, String> {
        let mut ids: HashMap<&str, i16> = HashMap::new();
        for (id, name) in names.iter() {
            ids.entry(name).or_insert(id);
        }
        let id = |name: &str| {
            ids.get(name).copied().ok_or_else(|| {
                format!(
                    "ingest.merge_rare_into: there is no class `{}`; the dataset's are {}",
                    printable(name),
                    printable(&listed(names))
                )
            })
        };
        let mut merges = BTreeMap::new();
        for (from, into) in &settings.merge_rare_into {
            merges.insert(id(from)?, id(into)?);
        }
        if let Some((from, into)) = merges.iter().find(|(_, into)| merges.contains_key(into)) {
            let (from, into) = (printable(names.name(*from)), printable(names.name(*into)));
            return Err(format!(
                "ingest.merge_rare_into: `{from}` is merged into `{into}`, which is merged \
                itself; name the last class for both"
            ));
        }
        let is_filtered = settings.rare_classes == RareClasses::Filter;
        Ok(RarePolicy {
            min_objects: settings.min_objects_per_class,
            min_images: settings.min_images_per_class,
            is_filtered,
            merges,
        })
    }

    /// Why a class with these counts in train is rare, if it is.
    fn rarity(&self, train: ClassCount) -> Option<String> {
        if train.objects < self.min_objects {
            Some(format!(
                "{} in train; ingest.min_objects_per_class is {}",
                count(train.objects, "object"),
                self.min_objects
            ))
        } else if train.images < self.min_images {
            Some(format!(
                "in {} of train; ingest.min_images_per_class is {}",
                count(train.images, "image"),
                self.min_images
            ))
        } else {
            None
        }
    }
}

/// The names of the first classes, for a message.
fn listed(names: &ClassNames) -> String {
    const MAX_LISTED: usize = 20;
    let first: Vec<&str> = names.iter().take(MAX_LISTED).map(|(_, name)| name).collect();
    match names.len().saturating_sub(MAX_LISTED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// The classes with their indices, and which of them are rare.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NumberedClasses {
    /// One row per class, in order of ids.
    pub rows: Vec<ClassRow>,
    /// Rare classes by id, with the reason. The rows of rare classes that are kept have no reason.
    pub rare: BTreeMap<i16, String>,
}

/// Decides which classes are trained and numbers them from 0 in order of their ids. A rare class
/// gets the index of the class that it is merged into, or none. Without a train split no class is
/// rare, because there is nothing to train.
pub(crate) fn number_classes(
    names: &ClassNames,
    counts: &ClassCounts,
    policy: &RarePolicy,
    has_train: bool,
) -> NumberedClasses {
    let in_train = |id: i16| counts.get(id, Split::Train);
    let rarity = |id: i16, count: ClassCount| {
        if has_train { policy.rarity(count).map(|reason| (id, reason)) } else { None }
    };
    let alone: BTreeMap<i16, String> =
        names.iter().filter_map(|(id, _)| rarity(id, in_train(id))).collect();
    let merged = |id: i16| policy.merges.get(&id).copied().filter(|_| alone.contains_key(&id));
    // Merged objects count for the class that they are merged into. An image may contain both
    // classes, so the sum of images is only an upper bound, and the larger of the two counts is
    // used.
    let mut with_merged: BTreeMap<i16, ClassCount> = BTreeMap::new();
    for (id, _) in names.iter() {
        if let Some(into) = merged(id) {
            let sum = with_merged.entry(into).or_insert_with(|| in_train(into));
            sum.objects += in_train(id).objects;
            sum.images = sum.images.max(in_train(id).images);
        }
    }
    let rare: BTreeMap<i16, String> = names
        .iter()
        .filter_map(|(id, _)| match merged(id) {
            Some(_) => alone.get(&id).map(|reason| (id, reason.clone())),
            None => rarity(id, with_merged.get(&id).copied().unwrap_or_else(|| in_train(id))),
        })
        .collect();
    let is_trained =
        |id: i16| merged(id).is_none() && (!policy.is_filtered || !rare.contains_key(&id));
    let indices: BTreeMap<i16, i16> =
        names.iter().map(|(id, _)| id).filter(|id| is_trained(*id)).zip(0..).collect();
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let row = |(class_id, class_name): (i16, &str)| {
        let [train, valid, test] = Split::ALL.map(|split| counts.get(class_id, split));
        let class_index = indices.get(&merged(class_id).unwrap_or(class_id)).copied();
        let reason = match (merged(class_id), rare.get(&class_id)) {
            (Some(into), Some(reason)) => {
                Some(format!("{reason}; merged into `{}`", names.name(into)))
            }
            (None, Some(reason)) if !is_trained(class_id) => Some(reason.clone()),
            _ => None,
        };
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
            kept: is_trained(class_id),
            reason,
        }
    };
    NumberedClasses { rows: names.iter().map(row).collect(), rare }
}

/// A finding for each rare class; `location` is where the classes are named.
pub(crate) fn rare_findings(
    classes: &NumberedClasses,
    location: &str,
    book: &RuleBook,
) -> Vec<Finding> {
    let finding = |row: &ClassRow| {
        let reason = row.reason.as_ref().or(classes.rare.get(&row.class_id))?;
        let objects = count(
            (row.train_objects + row.valid_objects + row.test_objects).unsigned_abs(),
            "object",
        );
        let (verb, note) = match (row.kept, row.class_index) {
            (true, _) => (
                "kept",
                format!("{objects} over all splits; ingest.rare_classes keeps rare classes"),
            ),
            (false, Some(index)) => {
                ("merged", format!("{objects} over all splits are given class_index {index}"))
            }
            (false, None) => (
                "filtered",
                format!("{objects} over all splits stay in objects.parquet without a class_index"),
            ),
        };
        let message = format!("class {} `{}` is {verb}: {reason}", row.class_id, row.class_name);
        let finding = book.finding(Rule::ClassRare, Location::file(location), message)?;
        Some(finding.with_note(note).with_help(
            "label more examples, lower the limit, or merge \
            the class into another with [ingest.merge_rare_into]",
        ))
    };
    classes.rows.iter().filter_map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ossify_contract::UnitBox;

    fn object(class_id: i16) -> LabelObject {
        LabelObject {
            line: 1,
            class_id,
            vertices: None,
            unit_box: UnitBox::default(),
            area: 0.0,
            repaired: false,
        }
    }

    fn policy(settings: impl FnOnce(&mut IngestSettings)) -> Result<RarePolicy, String> {
        let mut changed = IngestSettings { min_objects_per_class: 2, ..IngestSettings::default() };
        settings(&mut changed);
        RarePolicy::new(&changed, &names())
    }

    fn names() -> ClassNames {
        ClassNames::from_list(["a", "b", "c"])
    }

    /// In train, three objects of `a` in two images and two of `c` in two images; in valid, two of
    /// `b`.
    fn counts() -> ClassCounts {
        let mut counts = ClassCounts::default();
        counts.add_image(Split::Train, &[object(0), object(0), object(2)]);
        counts.add_image(Split::Train, &[object(0), object(2)]);
        counts.add_image(Split::Valid, &[object(1), object(1)]);
        counts
    }

    fn indices(classes: &NumberedClasses) -> Vec<Option<i16>> {
        classes.rows.iter().map(|row| row.class_index).collect()
    }

    #[test]
    fn a_rare_class_is_filtered_and_the_others_are_renumbered() {
        let policy = policy(|_| ()).unwrap();
        let classes = number_classes(&names(), &counts(), &policy, true);
        assert_eq!(indices(&classes), [Some(0), None, Some(1)]);
        assert_eq!((classes.rows[0].train_objects, classes.rows[0].train_images), (3, 2));
        assert_eq!(
            classes.rows[1].reason.as_deref(),
            Some("0 objects in train; ingest.min_objects_per_class is 2")
        );
        assert_eq!(rare_findings(&classes, "data.yaml", &RuleBook::default()).len(), 1);
        assert!(
            number_classes(&names(), &counts(), &policy, false).rows.iter().all(|row| row.kept)
        );
    }

    #[test]
    fn a_class_in_few_images_is_rare_too() {
        let policy = policy(|settings| {
            (settings.min_objects_per_class, settings.min_images_per_class) = (0, 3)
        })
        .unwrap();
        let classes = number_classes(&names(), &counts(), &policy, true);
        assert_eq!(indices(&classes), [None, None, None]);
        assert_eq!(
            classes.rows[0].reason.as_deref(),
            Some("in 2 images of train; ingest.min_images_per_class is 3")
        );
    }

    #[test]
    fn a_rare_class_may_be_kept() {
        let policy = policy(|settings| settings.rare_classes = RareClasses::Fail).unwrap();
        let classes = number_classes(&names(), &counts(), &policy, true);
        assert_eq!(indices(&classes), [Some(0), Some(1), Some(2)]);
        assert_eq!(classes.rare.keys().collect::<Vec<_>>(), [&1]);
        let findings = rare_findings(&classes, "data.yaml", &RuleBook::default());
        assert_eq!(
            findings[0].message,
            "class 1 `b` is kept: 0 objects in train; ingest.min_objects_per_class is 2"
        );
    }

    #[test]
    fn a_rare_class_is_merged_into_the_one_that_is_named_for_it() {
        let merge = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(from, into)| ((*from).to_owned(), (*into).to_owned())).collect()
        };
        let merging =
            policy(|settings| settings.merge_rare_into = merge(&[("b", "c"), ("a", "c")])).unwrap();
        let classes = number_classes(&names(), &counts(), &merging, true);
        // `a` is not rare, so it stays itself.
        assert_eq!(indices(&classes), [Some(0), Some(1), Some(1)]);
        assert_eq!(
            classes.rows.iter().map(|row| row.kept).collect::<Vec<_>>(),
            [true, false, true]
        );
        assert_eq!(
            classes.rows[1].reason.as_deref(),
            Some("0 objects in train; ingest.min_objects_per_class is 2; merged into `c`")
        );
        // Three and two rare objects are too few alone, but enough together.
        let merging = policy(|settings| {
            (settings.min_objects_per_class, settings.merge_rare_into) = (5, merge(&[("c", "a")]))
        })
        .unwrap();
        assert_eq!(
            indices(&number_classes(&names(), &counts(), &merging, true)),
            [Some(0), None, Some(0)]
        );
        let error = policy(|settings| settings.merge_rare_into = merge(&[("b", "d")])).unwrap_err();
        assert_eq!(
            error,
            "ingest.merge_rare_into: there is no class `d`; the dataset's are a, b, c"
        );
        let error = policy(|settings| settings.merge_rare_into = merge(&[("b", "c"), ("c", "a")]))
            .unwrap_err();
        assert!(error.contains("`b` is merged into `c`, which is merged itself"), "{error}");
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
