//! Tensors of the finished shards, by the number of their row.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ossify_contract::{Access, ArtefactError, Publication, Result, ShardReader, Split};

use crate::fingerprint::TensorView;
use crate::leaks::Picture;
use crate::shard_record::ShardRecord;

/// The rows of all shards, numbered through in the order of the plan. A shard is mapped when it is first asked for.
#[derive(Default)]
pub(crate) struct Tensors {
    shards: Vec<Shard>,
    rows: usize,
}

struct Shard {
    first_row: usize,
    split: Split,
    path: PathBuf,
    reader: Mutex<Option<Arc<ShardReader>>>,
}

impl Tensors {
    /// Adds the next shard: the staged one, or the one that stays where it is.
    pub(crate) fn add(&mut self, split: Split, record: &ShardRecord, publication: &Publication) -> Result<()> {
        if let Some(entry) = &record.entry {
            let staged = publication.stage(&entry.path)?;
            let path = if ossify_storage::size(&staged).is_some() { staged } else { publication.folder().join(&entry.path) };
            self.shards.push(Shard { first_row: self.rows, split, path, reader: Mutex::default() });
            self.rows += record.rows.len();
        }
        Ok(())
    }

    /// Id and split of a row.
    pub(crate) fn image(&self, row: usize) -> Result<(String, Split)> {
        let (shard, reader, row) = self.place(row)?;
        let image = reader.get(row).ok_or_else(|| ArtefactError::corrupt(&shard.path, format!("it has no row {row}")))?;
        Ok((image.image_id.to_owned(), shard.split))
    }

    /// What a row shows.
    pub(crate) fn picture(&self, row: usize) -> Result<Picture> {
        let (shard, reader, row) = self.place(row)?;
        let image = reader.get(row).ok_or_else(|| ArtefactError::corrupt(&shard.path, format!("it has no row {row}")))?;
        let mut tensor = Vec::with_capacity(reader.shape().bytes());
        reader.append_tensor(row, &mut tensor)?;
        Ok(Picture::new(&TensorView { pixels: &tensor, shape: reader.shape(), source: (image.width, image.height), transform: image.transform }))
    }

    fn place(&self, row: usize) -> Result<(&Shard, Arc<ShardReader>, usize)> {
        let at = self.shards.partition_point(|shard| shard.first_row <= row).saturating_sub(1);
        let shard = self.shards.get(at).ok_or_else(|| ArtefactError::corrupt("shards", format!("there is no row {row}")))?;
        let mut open = shard.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let reader = match &*open {
            Some(reader) => Arc::clone(reader),
            None => Arc::clone(open.insert(Arc::new(ShardReader::open_for(Access::Scattered, &shard.path)?))),
        };
        Ok((shard, reader, row - shard.first_row))
    }
}
