use crate::ranges::between;
use crate::schema::table;

table! {
    /// What `task = "detect"` builds and minimises.
    DetectSettings {
        /// Channels of the feature pyramid's maps.
        channels: usize [Output] = 64 => |v| between(v, 8, 1024);
        /// Cells that may answer for an object, at most.
        cells_per_object: usize [Output] = 13 => |v| between(v, 1, 1000);
        /// Power of a cell's score in the choice of the cells that answer for an object.
        score_power: f64 [Output] = 1.0 => |v| between(v, 0.0, 10.0);
        /// Power of the overlap of a cell's box in that choice.
        overlap_power: f64 [Output] = 6.0 => |v| between(v, 0.0, 20.0);
        /// Power by which the loss of scores follows their distance from the target: the focal
        /// loss's gamma.
        focal_power: f64 [Output] = 2.0 => |v| between(v, 0.0, 10.0);
        /// Weight of 1 - GIoU beside the loss of scores.
        box_weight: f64 [Output] = 2.0 => |v| between(v, 0.0, 1e6);
        /// Share of the images without an object that an epoch draws.
        background_share: f64 [Output] = 1.0 => |v| between(v, 0.0, 1.0);
    }
}
