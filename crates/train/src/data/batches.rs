use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

use anyhow::{Context as _, Result};
use ossify_contract::UnitBox;
use ossify_detection::boxes::Truth;
use xxhash_rust::xxh3::Xxh3;

use crate::data::augment::{AugmentParams, Augmentation, Hiding};
use crate::data::composition::{Composition, Mixup, Tile};
use crate::data::features::FeatureSet;
use crate::data::sampler::{Draw, Pass, number};
use crate::data::samples::SplitSamples;

/// Batches that wait for the device, over all workers; bounds their memory.
pub const MAX_WAITING_BATCHES: usize = 4;
/// Most threads that assemble batches: copying and checking bytes keeps up with any network on few.
const MAX_WORKERS: usize = 4;

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
    /// Objects of all samples, as they are after its change.
    pub objects: Vec<Truth>,
    /// How many of them belong to each sample.
    pub object_counts: Vec<usize>,
    /// How much of each object's image is in its sample, 0..1; empty where it is all.
    pub object_weights: Vec<f32>,
    /// What the device does to each image; empty where images stay as they are.
    pub changes: Vec<AugmentParams>,
    /// What each sample is made of; empty where each is its image alone.
    pub compositions: Vec<Composition>,
    /// XXH3 of all of this.
    pub digest: u64,
}

impl Batch {
    /// How many samples.
    pub fn len(&self) -> usize {
        self.object_counts.len()
    }

    /// The objects of each sample.
    pub fn objects_of_samples(&self) -> impl Iterator<Item = &[Truth]> {
        let mut rest = self.objects.as_slice();
        self.object_counts.iter().map(move |count| {
            let (own, others) = rest.split_at((*count).min(rest.len()));
            rest = others;
            own
        })
    }

    /// The weight of an object by its number among those of the batch.
    pub fn object_weight(&self, object: usize) -> f64 {
        self.object_weights.get(object).copied().map_or(1.0, f64::from)
    }
}

/// Where batches come from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The samples.
    pub samples: &'a SplitSamples,
    /// Features of their images, instead of pixels.
    pub features: Option<&'a FeatureSet>,
    /// How images are varied; `None` leaves them as they are.
    pub augmentation: Option<Augmentation>,
    /// Threads that assemble batches.
    pub workers: usize,
}

impl Source<'_> {
    /// The same with each sample made of its image alone.
    pub fn plain(self) -> Self {
        let augmentation = self.augmentation.map(Augmentation::plain);
        Source { augmentation: augmentation.filter(Augmentation::is_on), ..self }
    }
}

/// The batches of a pass in order, assembled ahead of need. Worker `w` of `n` makes batches `w`, `w
/// + n`, ..., so their order needs no coordination. Dropping this ends the workers.
pub struct Batches {
    workers: Vec<Receiver<Result<Batch>>>,
    next: usize,
    end: usize,
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        if self.next >= self.end {
            return None;
        }
        let worker = &self.workers[self.next % self.workers.len()];
        self.next += 1;
        Some(worker.recv().unwrap_or_else(|_| {
            Err(anyhow::anyhow!(
                "a thread that assembles batches has died; this is a defect of ossify-train"
            ))
        }))
    }
}

/// Assembles the batches of a pass from number `first` on.
///
/// # Errors
/// Fails where the system refuses threads.
pub fn spawn<'scope, 'env: 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    source: Source<'env>,
    pass: Pass,
    epoch: u32,
    first: usize,
) -> Result<Batches> {
    let end = pass.batches.len();
    let count = source.workers.clamp(1, MAX_WORKERS);
    let pass = std::sync::Arc::new(pass);
    let mut workers = Vec::with_capacity(count);
    for worker in 0..count {
        let (sender, receiver) = sync_channel((MAX_WAITING_BATCHES / count).max(1));
        let pass = pass.clone();
        // The worker whose turn `first` is begins with it.
        let begin = first + (worker + count - first % count) % count;
        let work = move || send_all(&source, &pass, epoch, (begin..end).step_by(count), &sender);
        std::thread::Builder::new()
            .spawn_scoped(scope, work)
            .context("cannot start a thread that assembles batches")?;
        workers.push(receiver);
    }
    Ok(Batches { workers, next: first, end })
}

fn send_all(
    source: &Source<'_>,
    pass: &Pass,
    epoch: u32,
    numbers: impl Iterator<Item = usize>,
    sender: &SyncSender<Result<Batch>>,
) {
    for batch in numbers {
        let batch = assemble(source, &pass.draws[pass.batches[batch].clone()], epoch);
        let failed = batch.is_err();
        if sender.send(batch).is_err() || failed {
            return;
        }
    }
}

/// The batch of these draws.
pub fn assemble(source: &Source<'_>, draws: &[Draw], epoch: u32) -> Result<Batch> {
    let all = &source.samples.samples;
    let samples = draws
        .iter()
        .map(|draw| all.get(draw.sample as usize).context("a sample past the end"))
        .collect::<Result<Vec<_>>>()?;
    let own: Vec<&[Truth]> =
        samples.iter().map(|sample| source.samples.objects_of(sample)).collect();
    let mut batch = Batch {
        inputs: Inputs::Pixels(Vec::new()),
        objects: Vec::with_capacity(samples.len()),
        object_counts: Vec::with_capacity(samples.len()),
        object_weights: Vec::new(),
        changes: Vec::new(),
        compositions: Vec::new(),
        digest: 0,
    };
    batch.inputs = if let Some(features) = source.features {
        let mut rows = vec![0.0; samples.len() * features.width()];
        for (row, sample) in rows.chunks_exact_mut(features.width()).zip(&samples) {
            features.read(sample.image, row)?;
        }
        Inputs::Features(rows)
    } else {
        let shards = &source.samples.shards;
        let shape = shards.shape().context("a split without shards")?;
        let mut pixels = Vec::with_capacity(samples.len() * shape.bytes());
        for sample in &samples {
            shards.append_tensor(sample.image, &mut pixels)?;
        }
        Inputs::Pixels(pixels)
    };
    match &source.augmentation {
        Some(augmentation) if source.features.is_none() => match augmentation.hiding {
            Hiding::DrawsAgain => batch.vary_whole(augmentation, epoch, draws, &own),
            Hiding::Cuts => batch.vary(augmentation, epoch, draws, &own),
        },
        _ => own.iter().for_each(|objects| batch.push(objects)),
    }
    batch.digest = digest(&batch);
    Ok(batch)
}

impl Batch {
    /// Adds the objects of the next sample.
    fn push(&mut self, objects: &[Truth]) {
        self.objects.extend(objects);
        self.object_counts.push(objects.len());
    }

    /// Draws what happens to each sample, so that no object of `own` is hidden.
    fn vary_whole(
        &mut self,
        augmentation: &Augmentation,
        epoch: u32,
        draws: &[Draw],
        own: &[&[Truth]],
    ) {
        for (draw, own) in draws.iter().zip(own) {
            let boxes: Vec<UnitBox> = own.iter().map(|object| object.unit_box).collect();
            let change = augmentation.change(epoch, number(draw), &boxes);
            let moved = |object: &Truth| Truth {
                unit_box: change.transform_box(&object.unit_box),
                ..*object
            };
            self.push(&own.iter().map(moved).collect::<Vec<_>>());
            self.changes.push(change);
        }
    }

    /// Draws what happens to each sample and what it is made of; of the objects of all its images
    /// it has what can be seen.
    fn vary(&mut self, augmentation: &Augmentation, epoch: u32, draws: &[Draw], own: &[&[Truth]]) {
        self.compositions = augmentation.compositions(epoch, draws);
        self.changes =
            draws.iter().map(|draw| augmentation.change(epoch, number(draw), &[])).collect();
        let composition = |row: usize| self.compositions.get(row).copied().unwrap_or_default();
        let shown: Vec<Vec<Truth>> = (0..draws.len())
            .map(|row| {
                let tiles = match composition(row).mosaic {
                    None => vec![(row, None)],
                    Some(mosaic) => mosaic.tiles().map(|(row, tile)| (row, Some(tile))).to_vec(),
                };
                let of_tile = |(of, tile): (usize, Option<Tile>)| {
                    let change = &self.changes[row];
                    own[of].iter().filter_map(move |object| {
                        let unit_box =
                            augmentation.shown(&object.unit_box, tile.as_ref(), change)?;
                        Some(Truth { unit_box, ..*object })
                    })
                };
                tiles.into_iter().flat_map(of_tile).collect()
            })
            .collect();
        let mixups: Vec<Option<Mixup>> =
            (0..draws.len()).map(|row| composition(row).mixup).collect();
        for (own, mixup) in shown.iter().zip(mixups) {
            let (other, share) = match mixup {
                None => (&[][..], 1.0),
                Some(mixup) => (shown[mixup.row].as_slice(), mixup.share),
            };
            self.push(&[own.as_slice(), other].concat());
            if !self.compositions.is_empty() {
                self.object_weights.extend(own.iter().map(|_| share));
                self.object_weights.extend(other.iter().map(|_| 1.0 - share));
            }
        }
    }
}

fn digest(batch: &Batch) -> u64 {
    let mut hash = Xxh3::new();
    let floats = |values: &mut dyn Iterator<Item = f32>, hash: &mut Xxh3| {
        values.for_each(|value| hash.update(&value.to_le_bytes()))
    };
    match &batch.inputs {
        Inputs::Pixels(bytes) => hash.update(bytes),
        Inputs::Features(rows) => floats(&mut rows.iter().copied(), &mut hash),
    }
    batch.objects.iter().for_each(|object| hash.update(&object.class.to_le_bytes()));
    floats(&mut batch.objects.iter().flat_map(|object| object.unit_box.to_array()), &mut hash);
    // Of a classifier each sample has one object, and the digest is that of versions before.
    if batch.object_counts.iter().any(|count| *count != 1) {
        batch.object_counts.iter().for_each(|count| hash.update(&count.to_le_bytes()));
    }
    floats(&mut batch.changes.iter().flat_map(AugmentParams::numbers), &mut hash);
    floats(&mut batch.compositions.iter().flat_map(Composition::numbers), &mut hash);
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: u32 = 8;

    fn varied(augmentation: &Augmentation, epoch: u32, own: &[&[Truth]]) -> Batch {
        let mut batch = Batch {
            inputs: Inputs::Pixels(Vec::new()),
            objects: Vec::new(),
            object_counts: Vec::new(),
            object_weights: Vec::new(),
            changes: Vec::new(),
            compositions: Vec::new(),
            digest: 0,
        };
        let draws: Vec<Draw> = (0..BATCH).map(|sample| Draw { sample, repeat: 0 }).collect();
        batch.vary(augmentation, epoch, &draws, own);
        batch.digest = digest(&batch);
        batch
    }

    /// Of every sample an object in its middle that has the sample's number as class; none of the
    /// first.
    fn objects() -> Vec<Vec<Truth>> {
        let unit_box = UnitBox::new(0.4, 0.4, 0.6, 0.6);
        (0..BATCH)
            .map(|class| vec![Truth { class: class as u16, unit_box }])
            .enumerate()
            .map(|(row, objects)| if row == 0 { Vec::new() } else { objects })
            .collect()
    }

    fn augmentation(mosaic: f64, mixup: f64) -> Augmentation {
        let hiding = Hiding::Cuts;
        Augmentation { seed: 3, mosaic, mixup, hiding, input_px: 112, ..Default::default() }
    }

    #[test]
    fn a_mixed_sample_has_the_objects_of_both_images_with_their_shares_as_weights() {
        let objects = objects();
        let own: Vec<&[Truth]> = objects.iter().map(Vec::as_slice).collect();
        for epoch in 0..20 {
            let batch = varied(&augmentation(0.0, 0.5), epoch, &own);
            assert_eq!(batch.object_weights.len(), batch.objects.len());
            let mut number = 0;
            for (row, found) in batch.objects_of_samples().enumerate() {
                let weights: Vec<f64> = (number..number + found.len())
                    .map(|number| batch.object_weight(number))
                    .collect();
                number += found.len();
                let mixup = batch.compositions[row].mixup;
                let share = mixup.map_or(1.0, |mixup| f64::from(mixup.share));
                let mut expected = Vec::new();
                expected.extend(own[row].iter().map(|object| (*object, share)));
                let other = mixup.map_or(&[][..], |mixup| own[mixup.row]);
                expected.extend(other.iter().map(|object| (*object, 1.0 - share)));
                assert_eq!(found, expected.iter().map(|(object, _)| *object).collect::<Vec<_>>());
                assert!(weights.iter().zip(&expected).all(|(a, (_, b))| (a - b).abs() < 1e-6));
            }
        }
    }

    #[test]
    fn a_mosaic_has_what_is_seen_of_the_objects_of_its_four_images() {
        let objects = objects();
        let own: Vec<&[Truth]> = objects.iter().map(Vec::as_slice).collect();
        let (mut seen, mut possible) = (0, 0);
        for epoch in 0..20 {
            let batch = varied(&augmentation(1.0, 0.0), epoch, &own);
            for (row, found) in batch.objects_of_samples().enumerate() {
                let mosaic = batch.compositions[row].mosaic.unwrap();
                // Background in one of its quarters adds nothing.
                possible += mosaic.rows.iter().filter(|row| **row > 0).count();
                seen += found.len();
                for object in found {
                    let at = mosaic.rows.iter().position(|row| *row == usize::from(object.class));
                    let [left, top, right, bottom] = mosaic.tiles()[at.unwrap()].1.edges;
                    let [xmin, ymin, xmax, ymax] = object.unit_box.to_array().map(f64::from);
                    assert!(xmin >= left && ymin >= top && xmax <= right && ymax <= bottom);
                }
            }
            assert!(batch.object_weights.iter().all(|weight| *weight == 1.0));
        }
        assert!(seen > possible / 4 && seen < possible, "{seen} of {possible}");
    }

    #[test]
    fn batches_are_a_function_of_seed_and_epoch_and_the_digest_tells_them_apart() {
        let objects = objects();
        let own: Vec<&[Truth]> = objects.iter().map(Vec::as_slice).collect();
        let of =
            |seed, epoch| varied(&Augmentation { seed, ..augmentation(0.5, 0.5) }, epoch, &own);
        assert_eq!(of(1, 1), of(1, 1));
        assert_ne!(of(1, 1).digest, of(1, 2).digest);
        assert_ne!(of(1, 1).digest, of(2, 1).digest);
        // Backgrounds alone: the numbers of the compositions alone differ.
        let none = vec![&[][..]; BATCH as usize];
        let [one, other] = [1, 2].map(|epoch| varied(&augmentation(0.0, 1.0), epoch, &none));
        assert_ne!(one.digest, other.digest);
    }

    #[test]
    fn plain_samples_are_their_image_alone() {
        let objects = objects();
        let own: Vec<&[Truth]> = objects.iter().map(Vec::as_slice).collect();
        let batch = varied(&augmentation(1.0, 1.0).plain(), 1, &own);
        assert!(batch.compositions.is_empty() && batch.object_weights.is_empty());
        assert_eq!(batch.objects, objects.concat());
        assert!(!augmentation(1.0, 1.0).plain().is_on());
    }
}
