use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use ossify_settings::{Context, Outcome, Share, StageError};

use crate::run::Run;
use crate::shards::ShardWork;
use crate::{images, parts, whole};

/// The stage: predicts the shards of the configured splits or a share of them, merges the parts of
/// all shares, or predicts the images of a folder.
///
/// # Errors
/// A folder of images that is not there is [`StageError::Usage`]; everything else that goes wrong
/// is [`StageError::Failed`].
pub fn run(context: &Context, share: Share, images: Option<&Path>) -> Result<Outcome, StageError> {
    let configured = &context.settings.predict.images;
    let images = images
        .map(Path::to_path_buf)
        .or_else(|| (!configured.is_empty()).then(|| PathBuf::from(configured)));
    match images {
        Some(folder)
            if !ossify_storage::is_dir(&folder)
                .with_context(|| format!("cannot look up {}", folder.display()))? =>
        {
            Err(StageError::Usage(anyhow!(
                "{} is not a folder; name a folder of images",
                folder.display()
            )))
        }
        Some(_) if share != Share::Whole => Err(StageError::Usage(anyhow!(
            "--partition and --merge are for shards; give each worker a folder of its own with \
                --images"
        ))),
        Some(folder) => Ok(images::predict(context, &Run::find(context)?, &folder)?),
        None => {
            // In the order of the tables.
            let mut splits = context.settings.predict.splits.clone();
            splits.sort();
            let run = Run::find(context)?;
            let work = ShardWork::find(context, &run, splits)?;
            Ok(match share {
                Share::Whole => whole::predict(&work),
                Share::Part(partition) => parts::predict_part(&work, partition),
                Share::Merge(count) => parts::merge(&work, count),
            }?)
        }
    }
}
