//! Objects and detections of an image.

use ossify_contract::UnitBox;

/// An object that a labeller marked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truth {
    /// Class as used in training.
    pub class: u16,
    /// Its box, shares of the image.
    pub unit_box: UnitBox,
}

/// A box that a detector proposes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Class as used in training.
    pub class: u16,
    /// Confidence, 0..=1.
    pub score: f32,
    /// Its box, shares of the image.
    pub unit_box: UnitBox,
}
