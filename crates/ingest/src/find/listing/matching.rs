//! Matches label files to images.

use ossify_contract::label_path;
use rayon::prelude::*;

use crate::find::paths::PathList;

/// Images and label files of a split, matched by their names.
#[derive(Debug, Default)]
pub(super) struct Matches {
    /// The index of each image's label file.
    pub label_of: Vec<Option<u32>>,
    /// Whether another image has the same path except for the extension, for each image.
    pub collides: Vec<bool>,
    /// Label files without an image, by index.
    pub orphans: Vec<u32>,
}

impl Matches {
    /// Matches sorted lists.
    pub fn of(images: &PathList, labels: &PathList) -> Self {
        let label_of: Vec<Option<u32>> = (0..images.len())
            .into_par_iter()
            .map(|at| {
                labels.find(&label_path(images.get(at))).and_then(|at| u32::try_from(at).ok())
            })
            .collect();
        let mut has_image = vec![false; labels.len()];
        for label in label_of.iter().flatten() {
            has_image[*label as usize] = true;
        }
        let orphans = (0u32..)
            .zip(&has_image)
            .filter(|(_, has_image)| !**has_image)
            .map(|(at, _)| at)
            .collect();
        Matches { label_of, collides: images.stem_collisions(), orphans }
    }
}
