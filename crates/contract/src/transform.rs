use serde::{Deserialize, Serialize};

use crate::unit_box::UnitBox;

/// The way from pixels of the upright source image to pixels of the tensor:
/// `tensor = source * scale + offset`, per axis.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transform {
    /// Tensor pixels a source pixel, horizontally.
    pub scale_x: f32,
    /// Tensor pixels a source pixel, vertically.
    pub scale_y: f32,
    /// Where the source's left edge lies in the tensor, in tensor pixels.
    pub offset_x: f32,
    /// Where the source's top edge lies in the tensor, in tensor pixels.
    pub offset_y: f32,
}

/// Width and height in pixels.
type Size = (u32, u32);

impl Transform {
    /// Fills the tensor, whatever the proportions.
    pub fn stretch(source: Size, tensor: Size) -> Self {
        Transform {
            scale_x: tensor.0 as f32 / source.0 as f32,
            scale_y: tensor.1 as f32 / source.1 as f32,
            offset_x: 0.0,
            offset_y: 0.0,
        }
    }

    /// Maps a box of the source (shares of its size) to the tensor (shares of its size).
    /// Where the tensor shows a part of the source, the result can leave 0..1.
    pub fn to_tensor(&self, unit: &UnitBox, source: Size, tensor: Size) -> UnitBox {
        let x =
            |share: f32| (share * source.0 as f32 * self.scale_x + self.offset_x) / tensor.0 as f32;
        let y =
            |share: f32| (share * source.1 as f32 * self.scale_y + self.offset_y) / tensor.1 as f32;
        UnitBox::new(x(unit.xmin), y(unit.ymin), x(unit.xmax), y(unit.ymax))
    }

    /// Maps a box of the tensor (shares of its size) back to the source (shares of its size).
    pub fn to_source(&self, unit: &UnitBox, source: Size, tensor: Size) -> UnitBox {
        let x = |share: f32| {
            (share * tensor.0 as f32 - self.offset_x) / (self.scale_x * source.0 as f32)
        };
        let y = |share: f32| {
            (share * tensor.1 as f32 - self.offset_y) / (self.scale_y * source.1 as f32)
        };
        UnitBox::new(x(unit.xmin), y(unit.ymin), x(unit.xmax), y(unit.ymax))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_box_comes_back_from_the_tensor_as_it_went(
            source in (1u32..4000, 1u32..4000),
            scale in (0.05f32..4.0, 0.05f32..4.0),
            offset in (-300.0f32..300.0, -300.0f32..300.0),
            corner in (0.0f32..0.5, 0.0f32..0.5),
        ) {
            let transform = Transform {
                scale_x: scale.0,
                scale_y: scale.1,
                offset_x: offset.0,
                offset_y: offset.1,
            };
            let tensor = (224, 224);
            let unit = UnitBox::new(corner.0, corner.1, corner.0 + 0.4, corner.1 + 0.4);
            let back = transform.to_source(
                &transform.to_tensor(&unit, source, tensor), source, tensor,
            );
            // One tensor pixel of float noise at the largest offset, in source shares.
            let tolerance_x = 1e-4 * (1.0 + 300.0 / (scale.0 * source.0 as f32));
            let tolerance_y = 1e-4 * (1.0 + 300.0 / (scale.1 * source.1 as f32));
            prop_assert!((back.xmin - unit.xmin).abs() < tolerance_x);
            prop_assert!((back.xmax - unit.xmax).abs() < tolerance_x);
            prop_assert!((back.ymin - unit.ymin).abs() < tolerance_y);
            prop_assert!((back.ymax - unit.ymax).abs() < tolerance_y);
        }
    }

    #[test]
    fn stretching_keeps_shares() {
        let transform = Transform::stretch((640, 480), (224, 224));
        let unit = UnitBox::new(0.25, 0.5, 0.75, 1.0);
        let mapped = transform.to_tensor(&unit, (640, 480), (224, 224));
        assert!((mapped.xmin - 0.25).abs() < 1e-6 && (mapped.ymax - 1.0).abs() < 1e-6);
    }
}
