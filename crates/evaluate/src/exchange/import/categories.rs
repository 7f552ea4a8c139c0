//! Which trained class a foreign class means.

use std::collections::HashMap;

use ossify_contract::ClassMap;

use crate::exchange::import::error::ImportError;
use crate::exchange::import::rows::{Reason, Unfit, shown};

/// How the classes are numbered in a file that names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CategoryIds {
    /// As in the dataset's data.yaml, the first class is 0
    #[value(name = "from-0")]
    FromZero,
    /// One more than in the dataset's data.yaml, the first class is 1
    #[value(name = "from-1")]
    FromOne,
    /// The 80 classes of COCO under its 90 ids
    #[value(name = "coco91")]
    Coco91,
}

/// The ids of COCO that no class has.
const COCO_GAPS: [i64; 10] = [12, 26, 29, 30, 45, 66, 68, 69, 71, 83];
/// Classes of COCO, and the largest id among them.
const COCO_CLASSES: i64 = 80;
const COCO_LARGEST: i64 = 90;

impl CategoryIds {
    /// In words, for a summary.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            CategoryIds::FromZero => "from-0",
            CategoryIds::FromOne => "from-1",
            CategoryIds::Coco91 => "coco91",
        }
    }

    /// The class as in data.yaml.
    pub(crate) fn class_id(self, category_id: i64) -> Option<i64> {
        match self {
            CategoryIds::FromZero => Some(category_id),
            CategoryIds::FromOne => category_id.checked_sub(1),
            CategoryIds::Coco91
                if COCO_GAPS.contains(&category_id)
                    || !(1..=COCO_LARGEST).contains(&category_id) =>
            {
                None
            }
            CategoryIds::Coco91 => Some(
                category_id - 1 - COCO_GAPS.iter().filter(|gap| **gap < category_id).count() as i64,
            ),
        }
    }
}

/// What the ids of a file say of how its classes are numbered.
#[derive(Default)]
pub(crate) struct Evidence {
    has_zero: bool,
    has_past_last: bool,
    has_coco_tail: bool,
    has_coco_gap: bool,
    /// Whether an entry has `file_name`, which Ultralytics writes since it counts from 1.
    pub has_file_name: bool,
}

impl Evidence {
    pub fn add(&mut self, category_id: i64, classes: &Classes) {
        self.has_zero |= category_id == 0;
        self.has_past_last |= category_id == classes.past_last();
        self.has_coco_tail |= (COCO_CLASSES + 1..=COCO_LARGEST).contains(&category_id);
        self.has_coco_gap |= COCO_GAPS.contains(&category_id);
    }

    /// The numbering that the ids leave possible, if that is one alone.
    pub fn decide(&self, classes: &Classes) -> Result<CategoryIds, ImportError> {
        let last = classes.past_last() - 1;
        let is_coco_like = last + 1 == COCO_CLASSES;
        let from_one = self.has_past_last || self.has_file_name;
        if self.has_zero && from_one {
            let other = if self.has_past_last {
                format!("category_id {}", last + 1)
            } else {
                "file_name, which Ultralytics writes since it counts from 1".into()
            };
            return Err(ImportError::ContradictoryIds { other, last });
        }
        if self.has_zero {
            return Ok(CategoryIds::FromZero);
        }
        if is_coco_like && self.has_coco_tail {
            return Ok(CategoryIds::Coco91);
        }
        // Of 80 classes, ids up to 80 may be COCO's, unless one is in its gaps.
        if from_one && (!is_coco_like || self.has_coco_gap) {
            return Ok(CategoryIds::FromOne);
        }
        Err(ImportError::UndecidedIds { last })
    }
}

/// Names to classes of data.yaml; `None` for a name that two classes share.
type Named = HashMap<String, Option<i64>>;

/// The classes of the tables.
pub(crate) struct Classes {
    by_id: HashMap<i64, (String, Option<i16>)>,
    by_name: Named,
    by_folded_name: Named,
    /// Names of the trained classes in order of `class_index`.
    pub kept_names: Vec<String>,
    past_last: i64,
}

impl Classes {
    pub fn new(map: &ClassMap) -> Self {
        let kept_names = map.kept_names();
        let (mut by_name, mut by_folded_name) = (Named::new(), Named::new());
        for row in map.rows() {
            let id = i64::from(row.class_id);
            by_name
                .entry(row.class_name.clone())
                .and_modify(|found| *found = None)
                .or_insert(Some(id));
            by_folded_name
                .entry(folded(&row.class_name))
                .and_modify(|found| *found = None)
                .or_insert(Some(id));
        }
        let index = |index: Option<i16>| {
            index
                .filter(|index| usize::try_from(*index).is_ok_and(|index| index < kept_names.len()))
        };
        let by_id = map
            .rows()
            .iter()
            .map(|row| (i64::from(row.class_id), (row.class_name.clone(), index(row.class_index))))
            .collect();
        let past_last = map.rows().iter().map(|row| i64::from(row.class_id) + 1).max().unwrap_or(0);
        Classes { by_id, by_name, by_folded_name, kept_names, past_last }
    }

    /// One more than the largest class of data.yaml.
    pub fn past_last(&self) -> i64 {
        self.past_last
    }

    /// The trained class that this class of data.yaml is.
    pub fn of_id(&self, class_id: i64) -> Result<i16, Unfit> {
        match self.by_id.get(&class_id) {
            Some((_, Some(class_index))) => Ok(*class_index),
            Some((name, None)) => Err(Unfit::new(
                Reason::UntrainedClass,
                format!("class {class_id} ({})", shown(name)),
            )),
            None => Err(Unfit::new(
                Reason::UnknownClass,
                format!("class {class_id}; the dataset's are 0 to {}", self.past_last - 1),
            )),
        }
    }

    /// The trained class of this name; case and spaces around it do not count where that leaves
    /// one.
    pub fn of_name(&self, name: &str) -> Result<i16, Unfit> {
        match self.by_name.get(name).or_else(|| self.by_folded_name.get(&folded(name))) {
            Some(Some(class_id)) => self.of_id(*class_id),
            Some(None) => Err(Unfit::new(
                Reason::UnknownClass,
                format!("several classes are named {}", shown(name)),
            )),
            None => Err(Unfit::new(Reason::UnknownClass, format!("class {}", shown(name)))),
        }
    }
}

fn folded(name: &str) -> String {
    name.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use ossify_contract::ClassRow;

    use super::*;

    fn classes(names: &[&str]) -> Classes {
        let row = |(id, name): (usize, &&str)| ClassRow {
            class_id: id as i16,
            class_name: (*name).into(),
            class_index: Some(id as i16),
            train_objects: 0,
            valid_objects: 0,
            test_objects: 0,
            train_images: 0,
            valid_images: 0,
            test_images: 0,
            kept: true,
            reason: None,
        };
        Classes::new(&ClassMap::new(names.iter().enumerate().map(row).collect()))
    }

    fn decide(classes: &Classes, ids: &[i64], has_file_name: bool) -> Result<CategoryIds, String> {
        let mut evidence = Evidence { has_file_name, ..Default::default() };
        ids.iter().for_each(|id| evidence.add(*id, classes));
        evidence.decide(classes).map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_and_the_last_id_decide_and_without_them_nobody_guesses() {
        let three = classes(&["wrist", "elbow", "humerus"]);
        assert_eq!(decide(&three, &[2, 0, 1], false), Ok(CategoryIds::FromZero));
        assert_eq!(decide(&three, &[1, 3], false), Ok(CategoryIds::FromOne));
        assert_eq!(decide(&three, &[1, 2], true), Ok(CategoryIds::FromOne));
        assert!(decide(&three, &[1, 2, 90], false).unwrap_err().contains("--category-ids"));
        assert!(decide(&three, &[0, 3], false).unwrap_err().contains("category_id 3"));
        assert!(decide(&three, &[0], true).unwrap_err().contains("file_name"));
    }

    #[test]
    fn ids_of_coco_are_known_by_those_beyond_the_number_of_classes() {
        let names: Vec<String> = (0..80).map(|i| format!("c{i}")).collect();
        let eighty = classes(&names.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(decide(&eighty, &[1, 90], true), Ok(CategoryIds::Coco91));
        assert_eq!(decide(&eighty, &[12, 80], false), Ok(CategoryIds::FromOne));
        assert!(decide(&eighty, &[13, 80], false).is_err());
        assert_eq!(decide(&eighty, &[0, 79], false), Ok(CategoryIds::FromZero));
        let of_coco: Vec<i64> = (i64::MIN..i64::MIN + 2)
            .chain(-1..100)
            .filter_map(|id| CategoryIds::Coco91.class_id(id))
            .collect();
        assert_eq!(of_coco, (0..80).collect::<Vec<_>>());
        assert_eq!(CategoryIds::FromOne.class_id(i64::MIN), None);
    }

    #[test]
    fn a_class_is_found_by_name_whatever_its_case_unless_two_have_it() {
        let classes = classes(&["Wrist", "elbow", "ELBOW", "elbow positive"]);
        assert_eq!(classes.of_name(" wrist"), Ok(0));
        assert_eq!((classes.of_name("elbow"), classes.of_name("ELBOW")), (Ok(1), Ok(2)));
        assert_eq!(
            classes.of_name("Elbow"),
            Err(Unfit::new(Reason::UnknownClass, "several classes are named `Elbow`"))
        );
        assert_eq!(classes.of_name("knee"), Err(Unfit::new(Reason::UnknownClass, "class `knee`")));
        assert_eq!(
            classes.of_id(4),
            Err(Unfit::new(Reason::UnknownClass, "class 4; the dataset's are 0 to 3"))
        );
    }
}
