//! Which boxes can be scored.

use std::ops::RangeInclusive;
use std::path::Path;

use ossify_contract::{ArtefactError, ObjectRow, UnitBox};

/// Where the edges of a box can be, in shares of the image: a detector may let a box hang over.
const PLAUSIBLE_EDGES: RangeInclusive<f32> = -1.0..=2.0;

/// Whether the box lies so far outside the image that its edges must be something else.
pub(crate) fn is_far_outside(unit_box: &UnitBox) -> bool {
    !unit_box.to_array().iter().all(|edge| PLAUSIBLE_EDGES.contains(edge))
}

/// Refuses boxes that would make scores meaningless.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn check_box(unit_box: &UnitBox) -> Result<(), String> {
    let edges = unit_box.to_array();
    if edges.iter().any(|edge| !edge.is_finite()) {
        return Err(format!("the box {edges:?} is not made of finite numbers"));
    }
    if is_far_outside(unit_box) {
        return Err(format!(
            "the box {edges:?} lies far outside the image, whose edges are 0 and 1; are these \
             pixels? divide by its width and height"
        ));
    }
    if unit_box.xmax < unit_box.xmin || unit_box.ymax < unit_box.ymin {
        return Err(format!(
            "the box {edges:?} ends before it begins; wanted are xmin, ymin, xmax, ymax, not a \
             corner or centre with a size"
        ));
    }
    Ok(())
}

/// Refuses an object that cannot be scored; any tool may have written the table at `path`.
///
/// # Errors
/// [`ArtefactError::Corrupt`] with image, line and reason.
pub(crate) fn check_object(path: &Path, row: &ObjectRow) -> Result<(), ArtefactError> {
    let checked = check_box(&row.unit_box()).and_then(|()| {
        if row.area.is_finite() && row.area >= 0.0 {
            Ok(())
        } else {
            Err(format!("the area is {}, which no box or polygon has", row.area))
        }
    });
    checked.map_err(|reason| {
        let reason = format!("object of `{}`, line {}: {reason}", row.image_id, row.line);
        ArtefactError::corrupt(path, reason)
    })
}
