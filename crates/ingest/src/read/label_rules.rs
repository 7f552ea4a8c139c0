//! The parameters of the rules about labels.

use crate::find::class_names::ClassNames;
use crate::rules::RuleBook;

/// The parameters of the rules about labels.
#[derive(Clone, Debug)]
pub struct LabelRules {
    /// How far a coordinate may be outside 0..1 and still be moved to the edge.
    pub tolerance: f64,
    /// A polygon with fewer vertices is dropped; at least 3.
    pub min_polygon_vertices: usize,
    /// The classes of the dataset.
    pub classes: ClassNames,
    /// The verdicts of the rules.
    pub book: RuleBook,
}
