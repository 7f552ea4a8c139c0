//! Summarises what was planted.

use std::collections::BTreeMap;
use std::path::Path;

use ossify_contract::{ArtefactError, ImageStatus, Split};

use crate::anatomy::Anatomy;
use crate::error::Result;
use crate::expected::Expected;
use crate::files::measure;
use crate::leak::Leak;
use crate::parameters::Parameters;
use crate::planted::{Planted, PlantedClass, PlantedSplit};
use crate::write_item::WrittenItem;

/// Id of the rare class.
const RARE: usize = Anatomy::PlatedHumerus as usize;

/// Everything that was planted.
pub(crate) fn summarise(
    root: &Path,
    data_yaml: &str,
    parameters: &Parameters,
    items: Vec<WrittenItem>,
    leaks: &[Leak],
) -> Result<Planted> {
    let mut planted = Planted {
        ossify_version: env!("CARGO_PKG_VERSION").into(),
        revision: Planted::REVISION,
        images: parameters.images,
        seed: parameters.seed,
        labels_only: parameters.labels_only,
        classes: Anatomy::ALL
            .iter()
            .map(|anatomy| PlantedClass {
                id: anatomy.class_id(),
                name: anatomy.class_name().into(),
            })
            .collect(),
        rare_threshold: (0, 0),
        ledger: BTreeMap::new(),
        splits: BTreeMap::new(),
        faults: Vec::new(),
        conditional: Vec::new(),
        innocent: Vec::new(),
        special_images: Vec::new(),
        leaks_wanted: parameters.planted_leaks(),
        leaks: leaks.iter().map(Leak::planted).collect(),
        folders: BTreeMap::new(),
    };
    items.into_iter().for_each(|item| add(&mut planted, item));
    planted.faults.push(Expected::of_file("class-rare", data_yaml));
    let train_objects = planted
        .splits
        .get(&Split::Train)
        .map_or([0; Anatomy::ALL.len()], |split| split.objects_per_class);
    let fewest_common = train_objects
        .iter()
        .enumerate()
        .filter(|(class, _)| *class != RARE)
        .map(|(_, objects)| *objects)
        .min();
    planted.rare_threshold = (train_objects[RARE] + 1, fewest_common.unwrap_or(0));
    planted.faults.sort_by(|a, b| {
        split_of(&a.path)
            .cmp(&split_of(&b.path))
            .then_with(|| (&a.path, a.line).cmp(&(&b.path, b.line)))
    });
    for split in Split::ALL {
        for kind in ["images", "labels"] {
            let name = format!("{split}/{kind}");
            let size = measure(&root.join(&name))
                .map_err(ArtefactError::io("cannot read the folder", root.join(&name)))?;
            planted.folders.insert(name, size);
        }
    }
    Ok(planted)
}

/// Adds the counts and findings of an item.
fn add(planted: &mut Planted, item: WrittenItem) {
    let split: &mut PlantedSplit = planted.splits.entry(item.split).or_default();
    split.images += item.images;
    split.labels += item.labels;
    match item.status {
        ImageStatus::Labelled => split.labelled += item.images,
        ImageStatus::Background => split.background += item.images,
        ImageStatus::Unlabelled => split.unlabelled += item.images,
        ImageStatus::Unreadable => split.unreadable += item.images,
    }
    let ledger = planted.ledger.entry(item.split).or_default();
    ledger.lines += item.boxes + item.polygons + item.quarantined;
    ledger.boxes += item.boxes;
    ledger.polygons += item.polygons;
    ledger.quarantined += item.quarantined;
    ledger.rare_filtered += item.objects_per_class[RARE];
    for (class, objects) in item.objects_per_class.iter().enumerate() {
        split.objects_per_class[class] += objects;
        split.images_per_class[class] += item.images * u64::from(*objects > 0);
    }
    planted.faults.extend(item.expected);
    planted.conditional.extend(item.conditional);
    planted.innocent.extend(item.innocent);
    planted.special_images.extend(item.special);
}

fn split_of(path: &str) -> Option<Split> {
    Split::ALL.into_iter().find(|split| path.split('/').next() == Some(split.as_str()))
}
