//! Access to the tensors of finished shards by row number.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ossify_contract::{Access, ArtefactError, Publication, Result, ShardReader, Split};

use crate::fingerprint::TensorView;
use crate::leaks::Picture;
use crate::plan::ShardPlan;
use crate::shard_record::ShardRecord;

/// Number of shards that are open at a time, far below the limit of open files.
const MAX_OPEN: usize = 64;
/// Maximum number of images in the open shards, unless the last one alone has more; names, sizes
/// and hashes take about 150 bytes each.
const MAX_OPEN_ROWS: usize = 1 << 18;

/// The rows of all shards, numbered consecutively in the order of the plan. The most recently used
/// shards are open.
pub(crate) struct Tensors<'a> {
    publication: &'a Publication,
    /// The shards, each with the number of its first row.
    shards: Vec<(usize, &'a ShardPlan)>,
    rows: usize,
    /// The open shards, the most recently used last.
    open: Mutex<VecDeque<(usize, Arc<ShardReader>)>>,
}

impl<'a> Tensors<'a> {
    /// Without rows.
    pub(crate) fn new(publication: &'a Publication) -> Self {
        Tensors { publication, shards: Vec::new(), rows: 0, open: Mutex::default() }
    }

    /// Adds the next shard, which is staged or already published.
    pub(crate) fn add(&mut self, shard: &'a ShardPlan, record: &ShardRecord) {
        if record.entry.is_some() {
            self.shards.push((self.rows, shard));
            self.rows += record.rows.len();
        }
    }

    /// The id and split of a row.
    pub(crate) fn image(&self, row: usize) -> Result<(String, Split)> {
        let (shard, reader, row) = self.locate(row)?;
        let image = reader
            .get(row)
            .ok_or_else(|| ArtefactError::corrupt(&shard.file, format!("it has no row {row}")))?;
        Ok((image.image_id.to_owned(), shard.split))
    }

    /// The picture of a row.
    pub(crate) fn picture(&self, row: usize) -> Result<Picture> {
        let (shard, reader, row) = self.locate(row)?;
        let image = reader
            .get(row)
            .ok_or_else(|| ArtefactError::corrupt(&shard.file, format!("it has no row {row}")))?;
        let mut tensor = Vec::with_capacity(reader.shape().bytes());
        reader.append_tensor(row, &mut tensor)?;
        Ok(Picture::new(&TensorView {
            pixels: &tensor,
            shape: reader.shape(),
            source: (image.width, image.height),
            transform: image.transform,
        }))
    }

    fn locate(&self, row: usize) -> Result<(&ShardPlan, Arc<ShardReader>, usize)> {
        let number =
            self.shards.partition_point(|(first_row, _)| *first_row <= row).saturating_sub(1);
        let (first_row, shard) = *self
            .shards
            .get(number)
            .ok_or_else(|| ArtefactError::corrupt("shards", format!("there is no row {row}")))?;
        Ok((shard, self.reader(number, shard)?, row - first_row))
    }

    fn reader(&self, number: usize, shard: &ShardPlan) -> Result<Arc<ShardReader>> {
        let mut open = self.lock();
        let reader =
            match open.iter().rposition(|(open, _)| *open == number).and_then(|at| open.remove(at))
            {
                Some((_, reader)) => reader,
                None => {
                    // Other threads should not have to wait.
                    drop(open);
                    let reader =
                        Arc::new(ShardReader::open_for(Access::Scattered, self.path(shard)?)?);
                    open = self.lock();
                    reader
                }
            };
        open.push_back((number, Arc::clone(&reader)));
        while open.len() > MAX_OPEN
            || (open.len() > 1
                && open.iter().map(|(_, reader)| reader.len()).sum::<usize>() > MAX_OPEN_ROWS)
        {
            open.pop_front();
        }
        Ok(reader)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(usize, Arc<ShardReader>)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, shard: &ShardPlan) -> Result<PathBuf> {
        let staged = self.publication.stage(&shard.file)?;
        Ok(if ossify_storage::size(&staged).is_some() {
            staged
        } else {
            self.publication.folder().join(&shard.file)
        })
    }
}
