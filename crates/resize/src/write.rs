//! Turns images into shards.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

use ossify_contract::{ArtefactError, BATCH_IMAGES, FailedImage, ShardRow, ShardWriter};
use ossify_imaging::{DecodeError, HeaderError, read_file};
use ossify_settings::Progress;
use ossify_storage::{ReadAhead, is_outage};
use ossify_vocabulary::Limits;

use crate::plan::{Plan, Source};
use crate::shard_record::{RowRecord, ShardRecord, Store, Unfinished};
use crate::tensor::Recipe;

/// Maximum size of the tensors of a record batch, bytes.
const BATCH_BYTES: usize = 16 << 20;

/// Writes the shards for which `is_missing` is true, each with its record beside it.
///
/// Each of `threads` threads takes the images of the next record batch and makes their tensors in a
/// buffer. This thread writes the batches to their shards in order, so the bytes do not depend on
/// the number of threads. Memory holds two more buffers than there are threads, and one image per
/// thread.
pub(crate) fn write_shards(
    plan: &Plan,
    is_missing: impl Fn(usize) -> bool,
    store: Store,
    images: ImageSource,
    recipe: &Recipe,
    threads: usize,
    progress: &Progress,
) -> Result<(), ArtefactError> {
    let batch_images = (BATCH_BYTES / recipe.spec.bytes()).clamp(1, BATCH_IMAGES);
    let sources = plan.sources(is_missing).peekable();
    let jobs = Mutex::new(Jobs { sources, batch_images, next: 0 });
    let (buffers, free) = channel();
    for _ in 0..threads + 2 {
        let _ = buffers.send(Vec::new());
    }
    let free = Mutex::new(free);
    let (done, finished) = channel();
    std::thread::scope(|scope| {
        for started in 0..threads {
            let done = done.clone();
            let (jobs, free) = (&jobs, &free);
            let make_batches = move || {
                // Each thread takes a buffer first and then the images, so that the earliest batch
                // can always be finished.
                while let Some(buffer) = next(free) {
                    let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(job) = job else { return };
                    let batch = job.and_then(|job| job.run(buffer, images, recipe, progress));
                    let failed = batch.is_err();
                    if done.send(batch).is_err() || failed {
                        return;
                    }
                }
            };
            match Builder::new().spawn_scoped(scope, make_batches) {
                Ok(_) => {}
                Err(e) if started == 0 => {
                    let action = "cannot start a thread that makes tensors of";
                    return Err(ArtefactError::io(action, images.dataset)(e));
                }
                // Fewer threads make the same bytes.
                Err(_) => break,
            }
        }
        drop(done);
        let mut sink = Sink { plan, store, recipe, open: None };
        let written = sink.take_all(&finished, |buffer| drop(buffers.send(buffer)));
        // This also ends threads that wait for a buffer or to hand over a batch.
        drop(buffers);
        drop(finished);
        written
    })
}

fn next<T>(receiver: &Mutex<Receiver<T>>) -> Option<T> {
    receiver.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Divides the images into record batches.
struct Jobs<I: Iterator> {
    sources: Peekable<I>,
    batch_images: usize,
    next: usize,
}

/// The images of one record batch.
struct Job {
    number: usize,
    shard: usize,
    sources: Vec<Source>,
}

/// A record batch that is ready to be written.
struct Batch {
    number: usize,
    shard: usize,
    pixels: Vec<u8>,
    rows: Vec<ShardRow>,
    records: Vec<RowRecord>,
    failures: Vec<FailedImage>,
}

impl<I: Iterator<Item = Result<(usize, Source), ArtefactError>>> Jobs<I> {
    fn next(&mut self) -> Option<Result<Job, ArtefactError>> {
        let (shard, first) = match self.sources.next()? {
            Ok(first) => first,
            Err(e) => return Some(Err(e)),
        };
        let mut sources = vec![first];
        while sources.len() < self.batch_images {
            match self.sources.next_if(|next| next.as_ref().is_ok_and(|(of, _)| *of == shard)) {
                Some(Ok((_, source))) => sources.push(source),
                _ => break,
            }
        }
        self.next += 1;
        Some(Ok(Job { number: self.next - 1, shard, sources }))
    }
}

impl Job {
    fn run(
        self,
        mut pixels: Vec<u8>,
        images: ImageSource,
        recipe: &Recipe,
        progress: &Progress,
    ) -> Result<Batch, ArtefactError> {
        let size = recipe.spec.bytes();
        pixels.resize(self.sources.len() * size, 0);
        let (mut rows, mut records, mut failures) = (
            Vec::with_capacity(self.sources.len()),
            Vec::with_capacity(self.sources.len()),
            Vec::new(),
        );
        for (source, bytes) in self.sources.iter().zip(images.read(&self.sources, &recipe.limits)) {
            let tensor = &mut pixels[rows.len() * size..][..size];
            match recipe.tensor(source, bytes?, tensor) {
                Ok((row, record)) => {
                    rows.push(row);
                    records.push(record);
                }
                Err(failure) => failures.push(failure),
            }
            progress.inc(1);
        }
        pixels.truncate(rows.len() * size);
        Ok(Batch { number: self.number, shard: self.shard, pixels, rows, records, failures })
    }
}

/// Where images come from.
#[derive(Clone, Copy)]
pub(crate) struct ImageSource<'a> {
    pub(crate) dataset: &'a Path,
    /// How many images each thread requests ahead from an object store.
    pub(crate) ahead: usize,
}

impl ImageSource<'_> {
    /// Reads images in order. An error ends the run: it means that an object store did not answer,
    /// which says nothing about the image.
    fn read(
        self,
        sources: &[Source],
        limits: &Limits,
    ) -> impl Iterator<Item = Result<Result<Vec<u8>, DecodeError>, ArtefactError>> {
        let paths = sources.iter().map(move |source| self.dataset.join(&source.image_id));
        ReadAhead::new(paths, limits.max_memory_bytes, self.ahead).map(move |(path, object)| {
            match object {
                None => Ok(read_file(&path, limits)),
                Some(Err(e)) if is_outage(&e) => Err(ArtefactError::io("cannot read", path)(e)),
                Some(Err(e)) => Ok(Err(HeaderError::Io(e).into())),
                Some(Ok(bytes)) => Ok(Ok(bytes)),
            }
        })
    }
}

/// Writes batches to their shards, with one shard open at a time.
struct Sink<'a> {
    plan: &'a Plan,
    store: Store<'a>,
    recipe: &'a Recipe,
    open: Option<(Unfinished, ShardWriter, ShardRecord)>,
}

impl Sink<'_> {
    fn take_all(
        &mut self,
        finished: &Receiver<Result<Batch, ArtefactError>>,
        give_back: impl Fn(Vec<u8>),
    ) -> Result<(), ArtefactError> {
        let mut early: BTreeMap<usize, Batch> = BTreeMap::new();
        let mut next = 0;
        for batch in finished {
            let batch = batch?;
            early.insert(batch.number, batch);
            while let Some(batch) = early.remove(&next) {
                give_back(self.take(batch)?);
                next += 1;
            }
        }
        Ok(())
    }

    fn take(&mut self, batch: Batch) -> Result<Vec<u8>, ArtefactError> {
        let shard = &self.plan.shards[batch.shard];
        let (file, mut writer, mut record) = match self.open.take() {
            Some(open) => open,
            None => {
                let file = self.store.begin(shard)?;
                let writer =
                    ShardWriter::create(file.path(), self.recipe.shape(), self.recipe.compression)?;
                (
                    file,
                    writer,
                    ShardRecord {
                        inputs: shard.inputs.clone(),
                        entry: None,
                        rows: Vec::new(),
                        failures: Vec::new(),
                    },
                )
            }
        };
        let pixels = writer.write(&batch.rows, batch.pixels)?;
        record.rows.extend(batch.records);
        record.failures.extend(batch.failures);
        if record.images() < shard.images {
            self.open = Some((file, writer, record));
            return Ok(pixels);
        }
        let entry = writer.finish(&shard.file)?;
        record.entry = (!record.rows.is_empty()).then_some(entry);
        self.store.keep(shard, file, record)?;
        Ok(pixels)
    }
}
