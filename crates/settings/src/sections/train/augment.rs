use crate::ranges::between;
use crate::schema::table;

table! {
    /// How training images are varied.
    AugmentSettings {
        /// Mirror half of the samples.
        flip: bool [Output] = false;
        /// Largest rotation to either side, degrees.
        rotation: f64 [Output] = 0.0 => |v| between(v, 0.0, 180.0);
        /// Size is multiplied by 1 - this to 1 + this.
        scale: f64 [Output] = 0.0 => |v| between(v, 0.0, 0.9);
        /// Largest shift along each axis, share of the side.
        shift: f64 [Output] = 0.0 => |v| between(v, 0.0, 0.9);
        /// Brightness is multiplied by 1 - this to 1 + this.
        brightness: f64 [Output] = 0.0 => |v| between(v, 0.0, 1.0);
        /// Contrast is multiplied by 1 - this to 1 + this.
        contrast: f64 [Output] = 0.0 => |v| between(v, 0.0, 1.0);
        /// Largest standard deviation of noise, share of white.
        noise: f64 [Output] = 0.0 => |v| between(v, 0.0, 1.0);
        /// Side of a black square that hides part of each sample, share of the side.
        cutout: f64 [Output] = 0.0 => |v| between(v, 0.0, 0.9);
        /// Share of a detector's samples that are mosaics: quarters of four images of the batch
        /// around a random point.
        mosaic: f64 [Output] = 0.0 => |v| between(v, 0.0, 1.0);
        /// Share of a detector's samples that another one of the batch is blended into; the objects
        /// of both count, by their images' shares.
        mixup: f64 [Output] = 0.0 => |v| between(v, 0.0, 1.0);
        /// Share of the run at its end, of `train.epochs` and of `train.stopping.max_minutes`, in
        /// which mosaic and mixup are off.
        plain_share: f64 [Output] = 0.05 => |v| between(v, 0.0, 1.0);
    }
}

impl AugmentSettings {
    /// Whether samples are made of several images, and no longer at the end of the run.
    pub fn ends_plain(&self) -> bool {
        (self.mosaic > 0.0 || self.mixup > 0.0) && self.plain_share > 0.0
    }
}
