//! Decides what each image of a dataset is.

use ossify_contract::{Shape, Split};

use crate::anatomy::Anatomy;
use crate::dice::{Dice, Stream};
use crate::encode::Format;
use crate::fault::Fault;
use crate::item::Item;
use crate::leak::prepare_originals;
use crate::parameters::Parameters;
use crate::picture::Order;

/// Plans every image: its split, patient, view, format and fault. The same parameters give the same
/// plan.
pub fn plan(parameters: &Parameters) -> Vec<Item> {
    let mut dice = Dice::new(parameters.seed, Stream::Plan);
    let images = parameters.images as usize;
    let part = |percent| images.saturating_mul(percent).saturating_add(50) / 100;
    let (train, valid) = (part(70), part(15));
    let mut planner = Planner { items: Vec::with_capacity(images), sources: 0, numbers: [0; 7] };
    for (split, count) in
        [(Split::Train, train), (Split::Valid, valid), (Split::Test, images - train - valid)]
    {
        planner.split(split, count, &mut dice);
    }
    let rounds = (parameters.images / Parameters::IMAGES_PER_ROUND).max(1);
    for split in Split::ALL {
        place_faults(&mut planner.items, split, rounds);
    }
    if parameters.labels_only {
        planner.items.iter_mut().for_each(|item| item.format = Format::JpegRgb);
    }
    prepare_originals(&mut planner.items, parameters);
    planner.items
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Rare,
    Healthy,
    Common,
}

struct Planner {
    items: Vec<Item>,
    sources: u64,
    numbers: [u32; 7],
}

const COMMON: [Anatomy; 6] = [
    Anatomy::Elbow,
    Anatomy::Fingers,
    Anatomy::Forearm,
    Anatomy::Humerus,
    Anatomy::Shoulder,
    Anatomy::Wrist,
];

impl Planner {
    fn split(&mut self, split: Split, count: usize, dice: &mut Dice) {
        let rare = match split {
            Split::Train => Parameters::RARE_TRAIN_OBJECTS,
            Split::Valid => 0,
            Split::Test => 1,
        };
        let healthy = count / 4;
        let mut items: Vec<Item> = Vec::with_capacity(count);
        for (kind, kind_count) in
            [(Kind::Rare, rare), (Kind::Healthy, healthy), (Kind::Common, count - healthy - rare)]
        {
            for number in 0..kind_count {
                let anatomy = if kind == Kind::Rare {
                    Anatomy::PlatedHumerus
                } else {
                    COMMON[number % COMMON.len()]
                };
                // Every eighth patient of train is exported three times, with other rotations and
                // exposures.
                let repeats = kind != Kind::Rare
                    && split == Split::Train
                    && number >= 12
                    && (number / 6) % 10 < 2;
                let previous = items.len().checked_sub(COMMON.len()).and_then(|i| items.get(i));
                let (source, stem, shown) = match previous.filter(|_| repeats) {
                    Some(previous) => (
                        previous.source,
                        stem_of(&previous.name).to_owned(),
                        Some((previous.order.fractures, previous.order.beside)),
                    ),
                    None => {
                        let (source, stem) = self.next_source(anatomy, split, dice);
                        (source, stem, None)
                    }
                };
                let mut item = new_item(split, anatomy, kind, source, &stem, dice);
                if let Some(shown) = shown {
                    (item.order.fractures, item.order.beside) = shown;
                }
                items.push(item);
            }
        }
        dice.shuffle(&mut items);
        for mut item in items {
            item.number = self.items.len() as u64;
            self.items.push(item);
        }
    }

    /// A new patient, and the name of the source picture. In valid and test, one name in five is
    /// that of another patient in train, because equal names do not prove a leak.
    fn next_source(&mut self, anatomy: Anatomy, split: Split, dice: &mut Dice) -> (u64, String) {
        self.sources += 1;
        let number = &mut self.numbers[anatomy.class_id()];
        let borrowed = split != Split::Train && *number > 0 && dice.chance(0.2);
        let shown = if borrowed {
            1 + dice.below(*number as usize) as u32
        } else {
            *number += 1;
            *number
        };
        let original = ["png", "jpg", "JPEG"][dice.below(3)];
        (self.sources, format!("{}_{shown:04}_{original}", anatomy.stem()))
    }
}

fn new_item(
    split: Split,
    anatomy: Anatomy,
    kind: Kind,
    source: u64,
    stem: &str,
    dice: &mut Dice,
) -> Item {
    let shorter = dice.within(300.0, 460.0);
    let longer = (shorter * dice.within(1.06, 1.4)).min(640.0);
    let (width, height) = if dice.chance(0.5) { (shorter, longer) } else { (longer, shorter) };
    let beside = match dice.within(0.0, 1.0) {
        _ if kind != Kind::Common => None,
        share if share < 0.05 => Some(anatomy),
        share if share < 0.07 => Some(COMMON[dice.below(COMMON.len())]),
        _ => None,
    };
    let fractures = match dice.within(0.0, 1.0) {
        _ if kind == Kind::Healthy => 0,
        _ if kind == Kind::Rare || beside.is_some() => 1,
        share if share < 0.7 => 1,
        share if share < 0.94 => 2,
        _ => 3,
    };
    let format = match dice.within(0.0, 1.0) {
        share if share < 0.86 => Format::JpegRgb,
        share if share < 0.92 => Format::JpegGray,
        share if share < 0.96 => Format::Png8,
        _ => Format::Png16,
    };
    Item {
        split,
        number: 0,
        source,
        order: Order { width: width as usize, height: height as usize, anatomy, fractures, beside },
        format,
        quality: 86 + dice.below(10) as u8,
        name: format!("{stem}.rf.{:016x}{:016x}", dice.bits(), dice.bits()),
        shape: if dice.chance(0.75) { Shape::Polygon } else { Shape::Box },
        fault: None,
    }
}

/// The name of the source picture in an exported file's name.
fn stem_of(name: &str) -> &str {
    name.split_once(".rf.").map_or(name, |(stem, _)| stem)
}

/// Gives each fault of the split's list a file of its own, once per round, and each unusual format
/// to one common picture.
fn place_faults(items: &mut [Item], split: Split, rounds: u64) {
    let is_host = |item: &&mut Item| {
        item.split == split
            && item.order.fractures > 0
            && item.order.beside.is_none()
            && item.order.anatomy != Anatomy::PlatedHumerus
    };
    let mut hosts = items.iter_mut().filter(is_host);
    for _ in 0..rounds {
        for fault in Fault::of_split(split) {
            let Some(host) = hosts.next() else { return };
            host.fault = Some(*fault);
            host.shape = fault.shape().unwrap_or(host.shape);
            host.format = match fault {
                Fault::ImageCutShort => Format::JpegCutShort,
                _ => Format::JpegRgb,
            };
            if *fault == Fault::ImageTooSmall {
                (host.order.width, host.order.height) = (9, 8);
            }
        }
    }
    if split == Split::Train {
        // So that even a small dataset contains each format.
        for (host, format) in
            hosts.zip([Format::JpegRotated, Format::Png16, Format::Png8, Format::JpegGray])
        {
            host.format = format;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn items(images: u64) -> Vec<Item> {
        plan(&Parameters { images, seed: 7, labels_only: false, leaks: 0 })
    }

    #[test]
    fn splits_are_seventy_fifteen_fifteen() {
        let count = |split| items(600).iter().filter(|item| item.split == split).count();
        assert_eq!(Split::ALL.map(count), [420, 90, 90]);
    }

    #[test]
    fn every_fault_and_format_is_in_a_small_dataset() {
        let items = items(Parameters::MIN_IMAGES_FOR_ALL_FAULTS);
        for split in Split::ALL {
            let planted: Vec<Fault> = items
                .iter()
                .filter(|item| item.split == split)
                .filter_map(|item| item.fault)
                .collect();
            assert_eq!(planted, Fault::of_split(split));
        }
        for format in [
            Format::JpegRgb,
            Format::JpegGray,
            Format::Png8,
            Format::Png16,
            Format::JpegRotated,
            Format::JpegCutShort,
        ] {
            assert!(items.iter().any(|item| item.format == format), "{format:?}");
        }
    }

    #[test]
    fn names_are_unique_and_sources_stay_within_a_split() {
        let items = items(1200);
        assert_eq!(items.iter().map(|item| &item.name).collect::<HashSet<_>>().len(), items.len());
        let sources = |split| {
            items
                .iter()
                .filter(|item| item.split == split)
                .map(|item| item.source)
                .collect::<HashSet<_>>()
        };
        assert!(
            sources(Split::Train).is_disjoint(&sources(Split::Valid))
                && sources(Split::Train).is_disjoint(&sources(Split::Test))
        );
        assert!(
            sources(Split::Train).len()
                < items.iter().filter(|item| item.split == Split::Train).count()
        );
    }

    #[test]
    fn neither_size_nor_format_reveals_the_class() {
        let items = items(6000);
        let common: Vec<&Item> =
            items.iter().filter(|item| item.order.fractures > 0 && item.fault.is_none()).collect();
        for anatomy in COMMON {
            let of: Vec<_> = common.iter().filter(|item| item.order.anatomy == anatomy).collect();
            let landscape = of.iter().filter(|item| item.order.width > item.order.height).count()
                as f64
                / of.len() as f64;
            let rgb = of.iter().filter(|item| item.format == Format::JpegRgb).count() as f64
                / of.len() as f64;
            assert!(
                (landscape - 0.5).abs() < 0.08 && (rgb - 0.86).abs() < 0.05,
                "{anatomy:?}: {landscape} {rgb}"
            );
        }
    }
}
