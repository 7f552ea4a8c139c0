use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use ossify_contract::{Access, Inputs, ShardReader, ShardShape, Split, Transform};

use crate::data::recent::Recent;

/// Shards of a split that are open at a time: each takes a file descriptor and, where it is
/// compressed, keeps a few unpacked batches.
const MAX_OPEN_SHARDS: usize = 64;

/// The shards of one split; images are numbered through all of them, from 0.
pub struct ShardSet {
    paths: Vec<PathBuf>,
    /// [`ShardReader::digest`] of each: a shard that is opened again is the one that was read.
    digests: Vec<u64>,
    /// Number of the first image of each shard.
    first_images: Vec<usize>,
    images: usize,
    shape: Option<ShardShape>,
    open: Recent<ShardReader>,
}

impl ShardSet {
    /// Reads which images are in those of `shards` that are of `split`: `visit` gets each image's
    /// number and id, in order.
    ///
    /// # Errors
    /// Fails where a shard cannot be read, where shards differ in their tensors' shape, or where
    /// there are more than 2^32 images.
    pub fn open(shards: &Inputs, split: Split, mut visit: impl FnMut(u32, &str)) -> Result<Self> {
        let mut set = ShardSet {
            paths: Vec::new(),
            digests: Vec::new(),
            first_images: Vec::new(),
            images: 0,
            shape: None,
            open: Recent::new(MAX_OPEN_SHARDS),
        };
        let prefix = format!("{split}-");
        let of_split = shards.files().iter().filter(|file| file.path.starts_with(&prefix));
        for (index, file) in of_split.enumerate() {
            let path = shards.folder().join(&file.path);
            let opened = ShardReader::open_for(Access::Scattered, &path)?;
            set.paths.push(path);
            set.digests.push(opened.digest());
            set.first_images.push(set.images);
            let shard = set.open.get(index, || Ok(opened))?;
            if *set.shape.get_or_insert(shard.shape()) != shard.shape() {
                bail!(
                    "{}: tensors of another shape than in the shards before it; \
                     run ossify-resize with --force",
                    set.paths[index].display()
                );
            }
            for image in shard.iter() {
                visit(u32::try_from(set.images).context("more than 2^32 images")?, image.image_id);
                set.images += 1;
            }
        }
        Ok(set)
    }

    /// Shape of the tensors; `None` without shards.
    pub fn shape(&self) -> Option<ShardShape> {
        self.shape
    }

    /// Width and height of the source of the image of this number, and its way to the tensor.
    ///
    /// # Errors
    /// Fails where there is no such image, or where its shard cannot be read.
    pub fn source(&self, image: u32) -> Result<((u32, u32), Transform)> {
        let (shard, row) = self.locate(image)?;
        let found = shard.get(row).context("an image past the end of its shard")?;
        Ok(((found.width, found.height), found.transform))
    }

    /// Appends the tensor of the image of this number to `out`.
    ///
    /// # Errors
    /// Fails where there is no such image, and where its bytes are not as they were written.
    pub fn append_tensor(&self, image: u32, out: &mut Vec<u8>) -> Result<()> {
        let (shard, row) = self.locate(image)?;
        Ok(shard.append_tensor(row, out)?)
    }

    /// The shard of an image, and its row there.
    fn locate(&self, image: u32) -> Result<(Arc<ShardReader>, usize)> {
        let image = usize::try_from(image)?;
        let index = self
            .first_images
            .partition_point(|first| *first <= image)
            .checked_sub(1)
            .context("an image past the end of the shards")?;
        Ok((self.shard(index)?, image - self.first_images[index]))
    }

    fn shard(&self, index: usize) -> Result<Arc<ShardReader>> {
        let path = &self.paths[index];
        self.open.get(index, || {
            let shard = ShardReader::open_for(Access::Scattered, path)?;
            if shard.digest() != self.digests[index] {
                bail!(
                    "{}: another shard than when training began, ossify-resize has run since; \
                     run ossify-train again",
                    path.display()
                );
            }
            Ok(shard)
        })
    }
}
