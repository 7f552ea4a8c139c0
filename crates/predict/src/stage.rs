use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use ossify_settings::{Context, Outcome, Share, StageError};

use crate::run::Run;
use crate::shards::ShardWork;
use crate::{images, parts, whole};

/// What is asked for, beside the configuration.
pub struct Request {
    /// Which of the shards.
    pub share: Share,
    /// The folder of images, or the image, that is predicted instead; else that of the
    /// configuration, if it names one.
    pub images: Option<PathBuf>,
    /// Whether the command line asks for pictures with boxes, which images alone have.
    pub wants_overlays: bool,
}

/// The stage: predicts the shards of the configured splits or a share of them, merges the parts of
/// all shares, or predicts the images of a folder.
///
/// # Errors
/// Images that are not there, and requests that contradict themselves, are [`StageError::Usage`];
/// everything else that goes wrong is [`StageError::Failed`].
pub fn run(context: &Context, request: Request) -> Result<Outcome, StageError> {
    let configured = &context.settings.predict.images;
    let images =
        request.images.or_else(|| (!configured.is_empty()).then(|| PathBuf::from(configured)));
    let Some(images) = images else {
        if request.wants_overlays {
            return Err(StageError::Usage(anyhow!(
                "--overlays draws on the images of --images; ossify-evaluate draws on those of \
                 the dataset"
            )));
        }
        // In the order of the tables.
        let mut splits = context.settings.predict.splits.clone();
        splits.sort();
        let run = Run::find(context)?;
        let work = ShardWork::find(context, &run, splits)?;
        return Ok(match request.share {
            Share::Whole => whole::predict(&work),
            Share::Part(partition) => parts::predict_part(&work, partition),
            Share::Merge(count) => parts::merge(&work, count),
        }?);
    };
    let found = ossify_storage::find(&images)
        .with_context(|| format!("cannot look up {}", images.display()))?;
    if found.is_none() {
        return Err(StageError::Usage(anyhow!(
            "there is no {}; name a folder of images, or an image",
            images.display()
        )));
    }
    if request.share != Share::Whole {
        return Err(StageError::Usage(anyhow!(
            "--partition and --merge are for shards; give each worker a folder of its own with \
             --images"
        )));
    }
    Ok(images::predict(context, &Run::find(context)?, &images)?)
}
