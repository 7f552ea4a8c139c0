//! One image of a dataset, before it is drawn.

use ossify_contract::{Shape, Split};

use crate::encode::Format;
use crate::fault::Fault;
use crate::picture::Order;

/// One image with its label file.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its split.
    pub split: Split,
    /// Its number, from 0 over all splits; decides view, exposure and noise.
    pub number: u64,
    /// The patient; images with the same patient are variants of one source picture.
    pub source: u64,
    /// What it shows.
    pub order: Order,
    /// How it is stored.
    pub format: Format,
    /// Quality of the JPEG.
    pub quality: u8,
    /// File name without extension.
    pub name: String,
    /// Whether its objects are labelled with boxes or polygons.
    pub shape: Shape,
    /// What is wrong with it.
    pub fault: Option<Fault>,
}

impl Item {
    /// Path of the image from the dataset root.
    pub fn image_path(&self) -> String {
        format!("{}/images/{}.{}", self.split.as_str(), self.name, self.format.extension())
    }

    /// Path of the label file from the dataset root.
    pub fn label_path(&self) -> String {
        format!("{}/labels/{}.txt", self.split.as_str(), self.name)
    }
}
