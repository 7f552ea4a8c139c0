//! The stage's entry point.

use std::io;

use anyhow::{Context as _, anyhow};
use ossify_settings::{Context, Outcome, Share, StageError};

use crate::{parts, whole};

/// Reads the tables and the images and publishes the shards, or a part of them, unless they already
/// exist; or merges the parts of all shares.
///
/// # Errors
/// [`StageError::Usage`] if the dataset's folder does not exist. [`StageError::Failed`] if there
/// are no tables, no image can be decoded, the disk fails or is full, another process writes the
/// same output, or a part is missing or does not belong to the others. A single bad image is not an
/// error: it is left out and listed in the summary.
pub fn run(context: &Context, share: Share) -> Result<Outcome, StageError> {
    // A merge does not read images.
    let has_dataset = || {
        let found = ossify_storage::is_dir(&context.dataset);
        found.map_err(|e| {
            // An unsupported URL, or an environment that does not suit it.
            let is_usage = e.kind() == io::ErrorKind::InvalidInput;
            let error = anyhow!(e).context(format!("cannot look up {}", context.dataset.display()));
            if is_usage { StageError::Usage(error) } else { StageError::Failed(error) }
        })
    };
    if !matches!(share, Share::Merge(_)) && !has_dataset()? {
        let path = context.dataset.display();
        return Err(StageError::Usage(anyhow!(
            "the dataset's folder {path} does not exist; name it with --dataset or dataset.path"
        )));
    }
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(context.reading_threads())
        .build()
        .context("cannot start threads")?;
    threads.install(|| match share {
        Share::Whole => whole::run(context),
        Share::Part(partition) => parts::part(context, partition),
        Share::Merge(count) => parts::merge(context, count),
    })
}
