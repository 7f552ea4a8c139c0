use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

use anyhow::{Context as _, Result};
use ossify_contract::UnitBox;

use crate::augment::Augmentation;
use crate::features::FeatureSet;
use crate::random::{Purpose, random_bits};
use crate::samples::SplitSamples;

/// Batches that wait between the thread that assembles them and the device; bounds their memory.
const QUEUE: usize = 3;

/// What goes into the network.
#[derive(Clone, Debug, PartialEq)]
pub enum Inputs {
    /// Rows of [height, width, channels] bytes.
    Pixels(Vec<u8>),
    /// Rows of pooled backbone features.
    Features(Vec<f32>),
}

/// Samples that are trained or scored together.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// One row a sample.
    pub inputs: Inputs,
    /// Class of each sample.
    pub classes: Vec<u16>,
    /// `xmin, ymin, xmax, ymax` of each sample in shares of the tensor.
    pub boxes: Vec<[f32; 4]>,
}

impl Batch {
    /// How many samples.
    pub fn len(&self) -> usize {
        self.classes.len()
    }
}

/// Where batches come from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The samples.
    pub samples: &'a SplitSamples,
    /// Features of their images, in place of pixels.
    pub features: Option<&'a FeatureSet>,
}

/// Which samples make the batches of one pass, and how they are varied.
#[derive(Clone, Debug)]
pub struct Pass {
    /// Numbers of samples, in the order of the pass.
    pub order: Vec<u32>,
    /// Samples of each batch, as ranges of `order`.
    pub batches: Vec<Range<usize>>,
    /// Augmentation and epoch; `None` leaves the images as they are.
    pub augmentation: Option<(Augmentation, u32)>,
}

impl Pass {
    /// A training pass: each sample once, in an order that (seed, epoch) decides, in batches whose sizes
    /// differ by at most one. A small last batch would upset BatchNorm.
    pub fn training(samples: usize, batch_size: usize, seed: u64, epoch: u32, augmentation: Augmentation) -> Self {
        let mut order: Vec<u32> = (0..samples as u32).collect();
        order.sort_by_cached_key(|index| (random_bits(seed, Purpose::Order, u64::from(epoch), u64::from(*index)), *index));
        let count = samples.div_ceil(batch_size);
        let batches = (0..count).map(|batch| batch * samples / count..(batch + 1) * samples / count).collect();
        Pass { order, batches, augmentation: augmentation.is_on().then_some((augmentation, epoch)) }
    }

    /// A scoring pass: each sample once, in order, the last batch as small as it is.
    pub fn scoring(samples: usize, batch_size: usize) -> Self {
        let batches = (0..samples.div_ceil(batch_size)).map(|batch| batch * batch_size..((batch + 1) * batch_size).min(samples)).collect();
        Pass { order: (0..samples as u32).collect(), batches, augmentation: None }
    }
}

/// Assembles the batches of a pass on a thread of its own, ahead of need. Dropping the receiver ends the thread.
pub fn spawn<'scope, 'env: 'scope>(scope: &'scope Scope<'scope, 'env>, source: Source<'env>, pass: Pass) -> Receiver<Result<Batch>> {
    let (sender, receiver) = sync_channel(QUEUE);
    scope.spawn(move || send_all(&source, &pass, &sender));
    receiver
}

fn send_all(source: &Source<'_>, pass: &Pass, sender: &SyncSender<Result<Batch>>) {
    for range in &pass.batches {
        let batch = assemble(source, &pass.order[range.clone()], pass.augmentation.as_ref());
        let failed = batch.is_err();
        if sender.send(batch).is_err() || failed {
            return;
        }
    }
}

/// The batch of these samples.
fn assemble(source: &Source<'_>, numbers: &[u32], augmentation: Option<&(Augmentation, u32)>) -> Result<Batch> {
    let all = &source.samples.samples;
    let samples = numbers.iter().map(|number| all.get(*number as usize).context("a sample past the end")).collect::<Result<Vec<_>>>()?;
    let classes = samples.iter().map(|sample| sample.class_index).collect();
    let mut boxes: Vec<[f32; 4]> = samples.iter().map(|sample| sample.box_unit_xyxy).collect();
    if let Some(features) = source.features {
        let mut rows = vec![0.0; samples.len() * features.width()];
        for (row, sample) in rows.chunks_exact_mut(features.width()).zip(&samples) {
            features.read(sample.image, row)?;
        }
        return Ok(Batch { inputs: Inputs::Features(rows), classes, boxes });
    }
    let shards = &source.samples.shards;
    let shape = shards.shape().context("a split without shards")?;
    let mut pixels = Vec::with_capacity(samples.len() * shape.bytes());
    for ((sample, number), unit) in samples.iter().zip(numbers).zip(&mut boxes) {
        let tensor = shards.tensor(sample.image as usize)?;
        match augmentation {
            None => pixels.extend_from_slice(&tensor),
            Some((augmentation, epoch)) => {
                let change = augmentation.change(*epoch, *number, shape);
                change.apply(&tensor, &mut pixels);
                *unit = change.transform_box(&UnitBox::from(*unit)).to_array();
            }
        }
    }
    Ok(Batch { inputs: Inputs::Pixels(pixels), classes, boxes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_pass_is_a_permutation_that_seed_and_epoch_decide() {
        let pass = |seed, epoch| Pass::training(1000, 16, seed, epoch, Augmentation::default());
        let mut sorted = pass(1, 1).order;
        assert_ne!(sorted, (0..1000).collect::<Vec<_>>());
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
        assert_eq!(pass(1, 1).order, pass(1, 1).order);
        assert_ne!(pass(1, 1).order, pass(1, 2).order);
        assert_ne!(pass(1, 1).order, pass(2, 1).order);
    }

    #[test]
    fn training_batches_are_of_nearly_equal_size_and_cover_all() {
        for (samples, batch_size) in [(2085, 16), (17, 16), (16, 16), (3, 16), (1, 16), (33, 2)] {
            let pass = Pass::training(samples, batch_size, 1, 1, Augmentation::default());
            let sizes: Vec<usize> = pass.batches.iter().map(Range::len).collect();
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            assert!(most - least <= 1 && *most <= batch_size, "{sizes:?}");
            assert_eq!(sizes.iter().sum::<usize>(), samples);
            assert_eq!(sizes.len(), samples.div_ceil(batch_size));
        }
    }

    #[test]
    fn a_scoring_pass_covers_every_sample_once_in_order() {
        let pass = Pass::scoring(37, 16);
        assert_eq!(pass.batches, [0..16, 16..32, 32..37]);
        assert_eq!(pass.order, (0..37).collect::<Vec<_>>());
        assert!(Pass::scoring(0, 16).batches.is_empty());
    }
}
