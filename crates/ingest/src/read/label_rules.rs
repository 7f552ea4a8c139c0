//! What the rules about labels need to know.

use crate::find::class_names::ClassNames;
use crate::rules::RuleBook;

/// What the rules about labels need to know.
#[derive(Clone, Debug)]
pub struct LabelRules {
    /// How far a coordinate may lie outside 0..1 and still be moved to the edge.
    pub tolerance: f64,
    /// A polygon with fewer vertices is dropped; at least 3.
    pub min_polygon_vertices: usize,
    /// The classes that there are.
    pub classes: ClassNames,
    /// What is done about what each rule finds.
    pub book: RuleBook,
}
