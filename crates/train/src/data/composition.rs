use std::f64::consts::TAU;

use crate::data::outline::Affine;
use crate::data::sampler::{Draw, number};
use crate::random::{Purpose, Stream};
use crate::rounding::single;

/// What a sample is made of besides its own image. Only images of the same batch take part, so that
/// none is read twice: it is a function of (seed, epoch, number of the draw, draws of the batch).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Composition {
    /// The four images that take its own image's place.
    pub mosaic: Option<Mosaic>,
    /// The image that is blended into it.
    pub mixup: Option<Mixup>,
}

/// Four images around a point (Bochkovskiy et al., "YOLOv4", 2020). All are shrunk alike, so far at
/// most that each still fills its quarter, of which it shows a random part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mosaic {
    /// Rows of the batch: top left, top right, bottom left, bottom right.
    pub rows: [usize; 4],
    /// Where the quarters meet, x before y, in shares of a side.
    pub centre: [f32; 2],
    /// Side of the images, a share of the mosaic's.
    pub size: f32,
    /// Left edges of the images on the left and on the right, as if nothing of them were hidden.
    pub lefts: [f32; 2],
    /// Top edges of the images above and below.
    pub tops: [f32; 2],
}

/// One image of a mosaic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tile {
    /// From the image to the mosaic.
    pub to: Affine,
    /// Left, top, right and bottom edges of what it shows there; infinite where nothing but the
    /// picture's own edge cuts it.
    pub edges: [f64; 4],
}

/// The image of another sample, as that one is varied, blended into a sample (Zhang et al., "Bag of
/// Freebies for Training Object Detection Neural Networks", 2019): the objects of both are to be
/// found, each with the share of its image as weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mixup {
    /// Row of the other sample in the batch.
    pub row: usize,
    /// Share of the sample's own image.
    pub share: f32,
}

/// Nearest to the edges that quarters meet, a share of the side: that of Bochkovskiy's program.
const MIN_QUARTER: f64 = 0.2;

impl Composition {
    /// Of each sample of a batch, where such shares of them are mosaics and blended.
    pub fn of_batch(seed: u64, shares: [f64; 2], epoch: u32, draws: &[Draw]) -> Vec<Self> {
        let [mosaic_share, mixup_share] = shares;
        let stream = |purpose, draw| Stream::new(seed, purpose, u64::from(epoch), number(draw));
        draws
            .iter()
            .enumerate()
            .map(|(own, draw)| {
                let mut mosaic = stream(Purpose::Mosaic, draw);
                let mut mixup = stream(Purpose::Mixup, draw);
                Composition {
                    mosaic: (mosaic.unit() < mosaic_share)
                        .then(|| Mosaic::draw(&mut mosaic, own, draws.len())),
                    mixup: (mixup.unit() < mixup_share)
                        .then(|| Mixup::draw(&mut mixup, own, draws.len())),
                }
            })
            .collect()
    }

    /// All numbers, for digests.
    pub fn numbers(&self) -> impl Iterator<Item = f32> {
        let mosaic =
            self.mosaic.into_iter().flat_map(|Mosaic { rows, centre, size, lefts, tops }| {
                let rows = rows.map(|row| row as f32);
                rows.into_iter().chain(centre).chain([size]).chain(lefts).chain(tops)
            });
        mosaic.chain(self.mixup.into_iter().flat_map(|mixup| [mixup.row as f32, mixup.share]))
    }
}

impl Mosaic {
    fn draw(stream: &mut Stream, own: usize, count: usize) -> Self {
        let mut rows = others(stream, own, count);
        rows.swap(0, up_to(stream, 4));
        let centre = [0, 1].map(|_| between(stream, MIN_QUARTER, 1.0 - MIN_QUARTER));
        let widest = centre.into_iter().fold(0.0, |widest, at| at.max(1.0 - at).max(widest));
        let size = between(stream, widest, 1.0);
        let [lefts, tops] = centre
            .map(|at| [between(stream, at - size, 0.0), between(stream, 1.0 - size, at)])
            .map(|edges| edges.map(single));
        Mosaic { rows, centre: centre.map(single), size: single(size), lefts, tops }
    }

    /// Its images, each with its row.
    pub fn tiles(&self) -> [(usize, Tile); 4] {
        let [x, y] = self.centre.map(f64::from);
        let (columns, rows) = (
            [(f64::NEG_INFINITY, x), (x, f64::INFINITY)],
            [(f64::NEG_INFINITY, y), (y, f64::INFINITY)],
        );
        std::array::from_fn(|index| {
            let (column, row) = (index % 2, index / 2);
            let ((left, right), (top, bottom)) = (columns[column], rows[row]);
            let size = f64::from(self.size);
            let to =
                [size, 0.0, f64::from(self.lefts[column]), 0.0, size, f64::from(self.tops[row])];
            (self.rows[index], Tile { to, edges: [left, top, right, bottom] })
        })
    }
}

impl Mixup {
    fn draw(stream: &mut Stream, own: usize, count: usize) -> Self {
        let [_, row, ..] = others(stream, own, count);
        // Beta(3/2, 3/2), as in the paper: how far a point of a disk lies along one axis.
        let share = 0.5 + 0.5 * stream.unit().sqrt() * (TAU * stream.unit()).cos();
        Mixup { row, share: single(share) }
    }
}

/// `own` and three others of `count` rows, all different where there are as many.
fn others(stream: &mut Stream, own: usize, count: usize) -> [usize; 4] {
    let mut rows = [own; 4];
    for taken in 1..rows.len() {
        let mut before = rows[..taken].to_vec();
        before.sort_unstable();
        before.dedup();
        // With a number drawn for each, whatever their number.
        let drawn = up_to(stream, count.saturating_sub(before.len()).max(1));
        if before.len() < count {
            rows[taken] = before.iter().fold(drawn, |row, taken| row + usize::from(row >= *taken));
        } else {
            rows[taken] = rows[taken % count.max(1)];
        }
    }
    rows
}

/// A whole number below `count`, which is at least 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the fraction is to be cut off; counts are those of a batch"
)]
fn up_to(stream: &mut Stream, count: usize) -> usize {
    ((stream.unit() * count as f64) as usize).min(count - 1)
}

fn between(stream: &mut Stream, low: f64, high: f64) -> f64 {
    low + (high - low) * stream.unit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(count: u32) -> Vec<Draw> {
        (0..count).map(|sample| Draw { sample: 3 * sample, repeat: sample % 2 }).collect()
    }

    fn composed(shares: [f64; 2], epoch: u32, count: u32) -> Vec<Composition> {
        Composition::of_batch(7, shares, epoch, &draws(count))
    }

    #[test]
    fn as_many_samples_are_composed_as_the_shares_say_and_again_the_same() {
        let found = composed([0.25, 0.5], 1, 4000);
        let mosaics = found.iter().filter(|composition| composition.mosaic.is_some()).count();
        let mixed = found.iter().filter(|composition| composition.mixup.is_some()).count();
        assert!((900..1100).contains(&mosaics) && (1900..2100).contains(&mixed));
        assert_eq!(found, composed([0.25, 0.5], 1, 4000));
        assert_ne!(found, composed([0.25, 0.5], 2, 4000));
        // What one share is does not change what the other draws.
        let alone = composed([0.0, 0.5], 1, 4000);
        assert!(found.iter().zip(&alone).all(|(both, alone)| both.mixup == alone.mixup));
        assert!(alone.iter().all(|composition| composition.mosaic.is_none()));
    }

    #[test]
    fn a_mosaic_has_its_own_image_and_three_others_that_fill_their_quarters() {
        let (mut positions, mut partners) = ([0; 4], [0; 16]);
        for epoch in 0..200 {
            for (own, composition) in composed([1.0, 1.0], epoch, 16).into_iter().enumerate() {
                let mosaic = composition.mosaic.unwrap();
                let mut rows = mosaic.rows;
                positions[rows.iter().position(|row| *row == own).unwrap()] += 1;
                rows.sort_unstable();
                assert!(rows.windows(2).all(|pair| pair[0] < pair[1]) && rows[3] < 16, "{rows:?}");
                rows.iter().for_each(|row| partners[*row] += 1);
                for (_, Tile { to, edges }) in mosaic.tiles() {
                    for axis in 0..2 {
                        let (begin, size) = (to[2 + 3 * axis], to[4 * axis]);
                        let (shown, end) = (edges[axis].max(0.0), edges[axis + 2].min(1.0));
                        assert!((0.5..=1.0).contains(&size), "{mosaic:?}");
                        assert!(begin <= shown + 1e-6 && begin + size >= end - 1e-6, "{mosaic:?}");
                    }
                }
                let mixup = composition.mixup.unwrap();
                assert!(mixup.row < 16 && mixup.row != own && (0.0..=1.0).contains(&mixup.share));
            }
        }
        assert!(positions.iter().all(|count| (700..900).contains(count)), "{positions:?}");
        assert!(partners.iter().all(|count| (700..900).contains(count)), "{partners:?}");
    }

    #[test]
    fn shares_of_mixed_images_have_the_moments_of_their_distribution() {
        let shares: Vec<f64> = composed([0.0, 1.0], 1, 4000)
            .iter()
            .map(|composition| f64::from(composition.mixup.unwrap().share))
            .collect();
        let mean = shares.iter().sum::<f64>() / 4000.0;
        let variance = shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / 4000.0;
        // Beta(a, a) has the variance 1 / (4 (2a + 1)).
        assert!((mean - 0.5).abs() < 0.01 && (variance - 1.0 / 16.0).abs() < 0.003);
    }

    #[test]
    fn small_batches_repeat_what_they_have() {
        for count in 1..4 {
            for (own, composition) in composed([1.0, 1.0], 1, count).into_iter().enumerate() {
                let rows = composition.mosaic.unwrap().rows;
                assert!(rows.contains(&own) && rows.iter().all(|row| *row < count as usize));
                let mut different = rows.to_vec();
                different.sort_unstable();
                different.dedup();
                assert_eq!(different.len(), count as usize, "{rows:?}");
                assert_eq!(composition.mixup.unwrap().row == own, count == 1);
            }
        }
    }
}
