//! An object of a label file.

use std::hash::{DefaultHasher, Hash, Hasher};

use ossify_contract::{Shape, UnitBox};
use serde::{Deserialize, Serialize};

/// An accepted label line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelObject {
    /// Line of the file, from 1.
    pub line: u32,
    /// Class as in the source.
    pub class_id: i16,
    /// Vertices as shares of width and height; `None` for a box.
    pub vertices: Option<Vec<[f32; 2]>>,
    /// The box, or the polygon's bounding box; within 0..=1.
    pub unit_box: UnitBox,
    /// Area of the polygon or box, share of the image.
    pub area: f32,
    /// Whether a coordinate was moved into the image.
    pub repaired: bool,
}

impl LabelObject {
    /// Box or polygon.
    pub fn shape(&self) -> Shape {
        if self.vertices.is_some() { Shape::Polygon } else { Shape::Box }
    }

    pub(crate) fn is_duplicate_of(&self, other: &LabelObject) -> bool {
        self.class_id == other.class_id
            && self.vertices == other.vertices
            && self.unit_box == other.unit_box
    }

    /// Equal for duplicates.
    pub(crate) fn geometry_hash(&self) -> u64 {
        // Adding zero turns -0 into 0, because they are equal when compared.
        let bits = |value: &f32| (value + 0.0).to_bits();
        let mut hasher = DefaultHasher::new();
        self.class_id.hash(&mut hasher);
        self.unit_box.to_array().iter().for_each(|value| bits(value).hash(&mut hasher));
        self.vertices.iter().flatten().flatten().for_each(|value| bits(value).hash(&mut hasher));
        hasher.finish()
    }
}
