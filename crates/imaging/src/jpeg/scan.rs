//! The scan: coefficients to planes.

use super::bits::Bits;
use super::huffman::Huffman;
use super::idct::{Basis, Coefficients, fill, transform};
use super::plane::{Plane, Refusal};
use super::segments::{Component, Plan, row_major};

/// For a block whose last coefficient has zigzag index `k`: the number of vertical and horizontal
/// frequencies that it may contain.
const EXTENTS: [(u8, u8); 64] = {
    let mut extents = [(0, 0); 64];
    let (mut k, mut x, mut y, mut down, mut across) = (0usize, 0u8, 0u8, 0u8, 0u8);
    while k < 64 {
        if y + 1 > down {
            down = y + 1;
        }
        if x + 1 > across {
            across = x + 1;
        }
        extents[k] = (down, across);
        // Diagonals go up if x + y is even, and down if it is odd.
        if (x + y) % 2 == 0 {
            match (x, y) {
                (7, _) => y += 1,
                (_, 0) => x += 1,
                _ => {
                    x += 1;
                    y -= 1;
                }
            }
        } else {
            match (x, y) {
                (_, 7) => x += 1,
                (0, _) => y += 1,
                _ => {
                    x -= 1;
                    y += 1;
                }
            }
        }
        k += 1;
    }
    extents
};

/// The planes of a picture at `n / 8` of its size, with `n` from 1 to 8; only luma if the others
/// are uniform.
pub(super) fn decode(plan: &Plan, n: usize) -> Result<Vec<Plane>, Refusal> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
    {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { decode_with_avx2(plan, n) };
    }
    decode_with(plan, n)
}

/// The same code compiled for wider registers. Without fused operations, its results are identical
/// to the bit.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2")]
fn decode_with_avx2(plan: &Plan, n: usize) -> Result<Vec<Plane>, Refusal> {
    decode_with(plan, n)
}

#[inline(always)]
fn decode_with(plan: &Plan, n: usize) -> Result<Vec<Plane>, Refusal> {
    let largest = plan.components[0].sampling;
    let mcus = (plan.width.div_ceil(8 * largest.0), plan.height.div_ceil(8 * largest.1));
    let mut canvases = Vec::with_capacity(plan.components.len());
    for component in &plan.components {
        // A component of half the resolution is decoded at twice the scale, up to its full size.
        let factor = (largest.0 / component.sampling.0).max(largest.1 / component.sampling.1);
        canvases.push(
            Canvas::new(plan, component, (n * factor).min(8), mcus).ok_or(Refusal::NotReadHere)?,
        );
    }
    let interval = if plan.restart_interval == 0 { mcus.0 * mcus.1 } else { plan.restart_interval };
    if plan.coded.pieces() != (mcus.0 * mcus.1).div_ceil(interval) {
        return Err(Refusal::NotReadHere);
    }
    let mut block: Coefficients = [[0.0; 8]; 8];
    for piece in 0..plan.coded.pieces() {
        let mut bits = plan.coded.piece(piece).ok_or(Refusal::NotReadHere)?;
        canvases.iter_mut().for_each(|canvas| canvas.predicted_dc = 0);
        for mcu in piece * interval..((piece + 1) * interval).min(mcus.0 * mcus.1) {
            let (mcu_column, mcu_row) = (mcu % mcus.0, mcu / mcus.0);
            for canvas in &mut canvases {
                let (across, down) = canvas.component.sampling;
                for y in 0..down {
                    for x in 0..across {
                        if canvas
                            .block(
                                &mut bits,
                                &mut block,
                                mcu_column * across + x,
                                mcu_row * down + y,
                            )
                            .is_none()
                        {
                            return Err(refusal(&bits));
                        }
                    }
                }
            }
        }
        if !(0..8).contains(&bits.left()) {
            return Err(refusal(&bits));
        }
    }
    let has_color = canvases.iter().skip(1).any(|canvas| !canvas.is_blank);
    let wanted = if has_color { canvases.len() } else { 1 };
    Ok(canvases
        .into_iter()
        .take(wanted)
        .map(|canvas| canvas.into_plane((plan.width, plan.height), largest))
        .collect())
}

/// The refusal if the coded data does not end where the picture does.
fn refusal(bits: &Bits) -> Refusal {
    /// Some encoders leave a few bytes between the picture and its end mark.
    const MAX_SPARE_BITS: i64 = 64 * 8;
    match bits.left() {
        ..0 => Refusal::WrongSize("its coded data ends before the picture does"),
        0..=MAX_SPARE_BITS => Refusal::NotReadHere,
        _ => Refusal::WrongSize("its coded data does not end where the picture does"),
    }
}

/// A plane that is being filled, in whole blocks.
struct Canvas<'a> {
    component: &'a Component,
    dc: &'a Huffman,
    ac: &'a Huffman,
    /// Samples along a block's side.
    n: usize,
    basis: Basis,
    stride: usize,
    rows: usize,
    /// Empty as long as the plane is blank.
    data: Vec<u8>,
    /// Whether every block so far was uniform middle gray.
    is_blank: bool,
    predicted_dc: i32,
}

impl<'a> Canvas<'a> {
    fn new(
        plan: &'a Plan,
        component: &'a Component,
        n: usize,
        mcus: (usize, usize),
    ) -> Option<Self> {
        let (dc, ac) =
            (plan.dc[component.tables.0].as_ref()?, plan.ac[component.tables.1].as_ref()?);
        let (stride, rows) = (mcus.0 * component.sampling.0 * n, mcus.1 * component.sampling.1 * n);
        Some(Canvas {
            component,
            dc,
            ac,
            n,
            basis: Basis::new(n),
            stride,
            rows,
            data: Vec::new(),
            is_blank: true,
            predicted_dc: 0,
        })
    }

    /// Reads a block and draws it at `column` and `row`, counted in blocks. `block` must be all 0,
    /// and is left so.
    #[inline(always)]
    fn block(
        &mut self,
        bits: &mut Bits,
        block: &mut Coefficients,
        column: usize,
        row: usize,
    ) -> Option<()> {
        bits.refill();
        let (size, difference) = self.dc.next(bits)?;
        if size > 11 {
            return None;
        }
        self.predicted_dc = self.predicted_dc.wrapping_add(difference);
        let steps = &self.component.steps;
        let dc = self.predicted_dc as f32 * steps[0];
        let (mut k, mut last) = (1, 0);
        while k < 64 {
            if bits.valid() < 32 {
                bits.refill();
            }
            let (symbol, number) = self.ac.next(bits)?;
            if symbol & 15 == 0 {
                match symbol {
                    0x00 => break,
                    0xf0 => k += 16,
                    _ => return None,
                }
                continue;
            }
            k += usize::from(symbol >> 4);
            if k > 63 {
                return None;
            }
            let at = row_major(k);
            block[at >> 3][at & 7] = number as f32 * steps[k];
            last = k;
            k += 1;
        }
        if k > 64 {
            return None;
        }
        if self.is_blank {
            if last == 0 && dc == 0.0 {
                return Some(());
            }
            self.is_blank = false;
            self.data = vec![128; self.stride * self.rows];
        }
        let out = &mut self.data[row * self.n * self.stride + column * self.n..];
        if last == 0 {
            match self.n {
                1 => fill::<1>(dc, out, self.stride),
                2 => fill::<2>(dc, out, self.stride),
                3 => fill::<3>(dc, out, self.stride),
                4 => fill::<4>(dc, out, self.stride),
                5 => fill::<5>(dc, out, self.stride),
                6 => fill::<6>(dc, out, self.stride),
                7 => fill::<7>(dc, out, self.stride),
                _ => fill::<8>(dc, out, self.stride),
            }
            return Some(());
        }
        block[0][0] = dc;
        let extent = (usize::from(EXTENTS[last].0), usize::from(EXTENTS[last].1));
        match self.n {
            1 => fill::<1>(dc, out, self.stride),
            2 => transform::<2>(block, extent, &self.basis, out, self.stride),
            3 => transform::<3>(block, extent, &self.basis, out, self.stride),
            4 => transform::<4>(block, extent, &self.basis, out, self.stride),
            5 => transform::<5>(block, extent, &self.basis, out, self.stride),
            6 => transform::<6>(block, extent, &self.basis, out, self.stride),
            7 => transform::<7>(block, extent, &self.basis, out, self.stride),
            _ => transform::<8>(block, extent, &self.basis, out, self.stride),
        }
        *block = [[0.0; 8]; 8];
        Some(())
    }

    /// The part of the canvas that a picture of `size` pixels covers.
    fn into_plane(mut self, size: (usize, usize), largest: (usize, usize)) -> Plane {
        if self.is_blank {
            self.data = vec![128; self.stride * self.rows];
        }
        let sampling = self.component.sampling;
        let width = (size.0 * sampling.0 * self.n).div_ceil(largest.0 * 8);
        let height = (size.1 * sampling.1 * self.n).div_ceil(largest.1 * 8);
        if width < self.stride {
            for row in 1..height {
                self.data.copy_within(row * self.stride..row * self.stride + width, row * width);
            }
        }
        self.data.truncate(width * height);
        let scale = |own: usize, largest: usize| (own * self.n) as f64 / (largest * 8) as f64;
        let scale = (scale(sampling.0, largest.0), scale(sampling.1, largest.1));
        let extent = (size.0 as f64 * scale.0, size.1 as f64 * scale.1);
        Plane { width: width as u32, height: height as u32, scale, extent, data: self.data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_hold_every_coefficient_up_to_the_last() {
        for (last, (down, across)) in EXTENTS.into_iter().enumerate() {
            let indices: Vec<_> = (0..=last).map(row_major).collect();
            assert_eq!(usize::from(down), indices.iter().map(|at| at / 8 + 1).max().unwrap());
            assert_eq!(usize::from(across), indices.iter().map(|at| at % 8 + 1).max().unwrap());
        }
    }
}
