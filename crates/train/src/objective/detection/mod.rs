//! What a detector is trained by: which cells answer for which object, and the loss of that.

pub mod assignment;
pub mod loss;
pub mod scores;
