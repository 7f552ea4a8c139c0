//! A gate that was not met.

use serde::{Deserialize, Serialize};

/// A limit that the user set and the data did not meet. A stage whose gates are a part of what it
/// makes lists the unmet ones in the summary of its manifest, so that a second run, which does
/// nothing, fails the same way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// The key or flag, as in `evaluate.min_accuracy`.
    pub name: String,
    /// What was measured.
    pub figure: f64,
    /// What was asked for.
    pub limit: f64,
    /// One sentence with both.
    pub message: String,
}
