use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

use anyhow::{Context as _, Result};
use ossify_contract::UnitBox;
use ossify_detection::boxes::Truth;
use xxhash_rust::xxh3::Xxh3;

use crate::data::augment::{AugmentParams, Augmentation};
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
    /// What the device does to each image; empty where images stay as they are.
    pub changes: Vec<AugmentParams>,
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
    let mut objects: Vec<Truth> = Vec::with_capacity(samples.len());
    let mut object_counts = Vec::with_capacity(samples.len());
    for sample in &samples {
        let own = source.samples.objects_of(sample);
        objects.extend(own);
        object_counts.push(own.len());
    }
    let mut changes = Vec::new();
    let inputs = if let Some(features) = source.features {
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
        if let Some(augmentation) = &source.augmentation {
            let mut rest = objects.as_mut_slice();
            for (draw, count) in draws.iter().zip(&object_counts) {
                let (own, others) = rest.split_at_mut(*count);
                rest = others;
                let boxes: Vec<UnitBox> = own.iter().map(|object| object.unit_box).collect();
                let change = augmentation.change(epoch, number(draw), &boxes);
                for object in own {
                    object.unit_box = change.transform_box(&object.unit_box);
                }
                changes.push(change);
            }
        }
        Inputs::Pixels(pixels)
    };
    let mut batch = Batch { inputs, objects, object_counts, changes, digest: 0 };
    batch.digest = digest(&batch);
    Ok(batch)
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
    hash.digest()
}
