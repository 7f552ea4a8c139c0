use ossify_contract::{ShardShape, UnitBox};

use crate::random::{Purpose, random_bits, random_signed};

/// How training images are varied. What happens to a sample is a pure function of (seed, epoch,
/// index of the sample), so a resumed run sees the same pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Augmentation {
    /// Seed of the run.
    pub seed: u64,
    /// Mirror half of the images left to right.
    pub flip: bool,
    /// Brightness is multiplied by 1 - this to 1 + this.
    pub brightness: f64,
    /// Images move by up to this share of each side; black comes in.
    pub shift: f64,
}

/// What happens to one image in one epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    flip: bool,
    brightness: f32,
    /// Tensor pixels to the right and down.
    shift_px: (i32, i32),
    shape: ShardShape,
}

impl Augmentation {
    /// Whether images are varied at all.
    pub fn is_on(&self) -> bool {
        self.flip || self.brightness > 0.0 || self.shift > 0.0
    }

    /// What happens to sample `index` in `epoch`; tensors have this `shape`.
    pub fn change(&self, epoch: u32, index: u32, shape: ShardShape) -> Change {
        let (epoch, index) = (u64::from(epoch), u64::from(index));
        let shift = |purpose, side: u32| (random_signed(self.seed, purpose, epoch, index) * self.shift * f64::from(side)).round() as i32;
        Change {
            flip: self.flip && random_bits(self.seed, Purpose::Flip, epoch, index) & 1 == 1,
            brightness: (1.0 + self.brightness * random_signed(self.seed, Purpose::Brightness, epoch, index)) as f32,
            shift_px: (shift(Purpose::ShiftX, shape.width), shift(Purpose::ShiftY, shape.height)),
            shape,
        }
    }
}

impl Change {
    /// Appends the changed image to `out`. `pixels` are rows, columns, channels of the shape given to
    /// [`Augmentation::change`]; as many bytes are appended as came in.
    pub fn apply(&self, pixels: &[u8], out: &mut Vec<u8>) {
        let (width, height, channels) = (self.shape.width as usize, self.shape.height as usize, self.shape.channels as usize);
        let row_bytes = width * channels;
        let start = out.len();
        out.resize(start + pixels.len(), 0);
        let target = &mut out[start..];
        let lut: [u8; 256] = std::array::from_fn(|value| (value as f32 * self.brightness).round().clamp(0.0, 255.0) as u8);
        let (right, down) = self.shift_px;
        // Columns of the target that show the source, and where in the (mirrored) source they begin.
        let columns = width.saturating_sub(right.unsigned_abs() as usize);
        let (to_column, from_column) = (right.max(0) as usize, (-right).max(0) as usize);
        for row in 0..height {
            let Some(source_row) = row.checked_add_signed(-down as isize).filter(|source_row| *source_row < height) else { continue };
            let source = &pixels[source_row * row_bytes..][..row_bytes];
            let target = &mut target[row * row_bytes + to_column.min(width) * channels..][..columns * channels];
            if self.flip {
                for (column, pixel) in target.chunks_exact_mut(channels).enumerate() {
                    let source_column = width - 1 - (from_column + column);
                    for (to, from) in pixel.iter_mut().zip(&source[source_column * channels..]) {
                        *to = lut[usize::from(*from)];
                    }
                }
            } else {
                for (to, from) in target.iter_mut().zip(&source[from_column.min(width) * channels..]) {
                    *to = lut[usize::from(*from)];
                }
            }
        }
    }

    /// The box, in shares of the tensor, on the changed image, cut at the borders.
    pub fn transform_box(&self, unit: &UnitBox) -> UnitBox {
        let (dx, dy) = (self.shift_px.0 as f32 / self.shape.width as f32, self.shift_px.1 as f32 / self.shape.height as f32);
        let (xmin, xmax) = if self.flip { (1.0 - unit.xmax, 1.0 - unit.xmin) } else { (unit.xmin, unit.xmax) };
        UnitBox::new(xmin + dx, unit.ymin + dy, xmax + dx, unit.ymax + dy).clamped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ShardShape = ShardShape { height: 20, width: 30, channels: 3 };

    /// Black with one bright rectangle, corners in pixels.
    fn rectangle(xmin: usize, ymin: usize, xmax: usize, ymax: usize) -> Vec<u8> {
        let mut pixels = vec![0; SHAPE.bytes()];
        for y in ymin..ymax {
            for x in xmin..xmax {
                pixels[(y * 30 + x) * 3..][..3].copy_from_slice(&[200, 201, 202]);
            }
        }
        pixels
    }

    /// Bounds of what is not black, in shares.
    fn bounds(pixels: &[u8]) -> UnitBox {
        let lit: Vec<[f32; 2]> = (0..20 * 30).filter(|i| pixels[i * 3] > 0).map(|i| [(i % 30) as f32, (i / 30) as f32]).collect();
        let found = UnitBox::around(&lit).unwrap();
        UnitBox::new(found.xmin / 30.0, found.ymin / 20.0, (found.xmax + 1.0) / 30.0, (found.ymax + 1.0) / 20.0)
    }

    #[test]
    fn the_box_moves_with_the_pixels() {
        let augmentation = Augmentation { seed: 3, flip: true, brightness: 0.3, shift: 0.5 };
        let unit = UnitBox::new(10.0 / 30.0, 8.0 / 20.0, 17.0 / 30.0, 13.0 / 20.0);
        let mut flips = 0;
        for index in 0..200 {
            let change = augmentation.change(1, index, SHAPE);
            flips += usize::from(change.flip);
            let mut changed = Vec::new();
            change.apply(&rectangle(10, 8, 17, 13), &mut changed);
            assert_eq!(changed.len(), SHAPE.bytes());
            let moved = change.transform_box(&unit);
            if moved.area() > 1e-4 {
                let found = bounds(&changed);
                for (a, b) in moved.to_array().iter().zip(found.to_array()) {
                    assert!((a - b).abs() < 1e-5, "{change:?}: {moved:?} against {found:?}");
                }
            }
        }
        assert!((70..130).contains(&flips), "{flips} of 200");
    }

    #[test]
    fn nothing_configured_changes_nothing() {
        let augmentation = Augmentation { seed: 3, ..Augmentation::default() };
        assert!(!augmentation.is_on());
        let image = rectangle(1, 2, 9, 20);
        let mut same = Vec::new();
        augmentation.change(5, 9, SHAPE).apply(&image, &mut same);
        assert_eq!(same, image);
    }

    #[test]
    fn a_shift_past_the_border_leaves_black() {
        let change = Change { flip: true, brightness: 1.0, shift_px: (-31, 3), shape: SHAPE };
        let mut out = Vec::new();
        change.apply(&rectangle(0, 0, 30, 20), &mut out);
        assert!(out.iter().all(|value| *value == 0));
        assert_eq!(change.transform_box(&UnitBox::new(0.2, 0.2, 0.8, 0.8)).area(), 0.0);
    }

    #[test]
    fn epochs_differ_and_repeat_themselves() {
        let augmentation = Augmentation { seed: 3, flip: true, brightness: 0.3, shift: 0.2 };
        assert_eq!(augmentation.change(1, 5, SHAPE), augmentation.change(1, 5, SHAPE));
        assert_ne!(augmentation.change(1, 5, SHAPE), augmentation.change(2, 5, SHAPE));
    }
}
