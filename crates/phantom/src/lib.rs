//! Synthetic radiographs with YOLO labels: a dataset that anyone can generate, in the layout of the
//! real one, in which every fault is known.
//!
//! Limbs are drawn as X-rays through bone and soft tissue ([`draw`], [`anatomy`]), fractured
//! ([`mod@fracture`]), exposed ([`picture`]) and stored in several formats ([`encode`]). A [`plan`]
//! decides what each image shows, and which [`fault`] it has; [`leak`] copies some
//! images of train into the other splits on request. [`planted::Planted`] lists exactly what ingest
//! should find.
//!
//! The same parameters give the same bytes with any number of threads, because each image has its
//! own random streams.
//!
//! With `labels_only`, the label files are the same, and each image is a hard link to a tiny
//! picture: links cost no space and little time, yet a reader of labels finds and opens as many
//! images as labels. Faults of pictures are then left out.

pub mod anatomy;
pub mod dataset;
pub mod dice;
pub mod draw;
pub mod encode;
mod error;
pub mod expected;
pub mod fault;
mod files;
pub mod fracture;
pub mod geometry;
pub mod item;
pub mod label_line;
pub mod leak;
mod parameters;
pub mod picture;
pub mod plan;
pub mod plant;
pub mod planted;
mod summarise;
mod write_item;

use anyhow::{Context as _, anyhow};
use ossify_contract::Split;
use ossify_settings::{Context, Outcome, StageError};

pub use dataset::{PLANTED_FILE, existing, generate};
pub use error::{PhantomError, Result};
pub use parameters::Parameters;
pub use planted::Planted;

/// Makes the phantom dataset in `context.dataset` unless it exists; the summary is the content of
/// `planted.json`.
///
/// # Errors
/// [`StageError::Usage`] for too few images or a folder that contains something else; otherwise if
/// the disk fails.
pub fn run(context: &Context, parameters: &Parameters) -> Result<Outcome, StageError> {
    let folder = &context.named_dataset;
    if ossify_storage::is_url(folder) {
        let reason = "the phantom is written to a local folder; copy it to the object \
            store from there";
        return Err(StageError::Usage(anyhow!("{}: {reason}", folder.display())));
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(context.threads())
        .build()
        .context("cannot start threads")?;
    if let Some(planted) =
        pool.install(|| if context.force { None } else { existing(folder, parameters) })
    {
        return Ok(Outcome::current(summary(&planted)?));
    }
    let what = if parameters.labels_only { "label files" } else { "radiographs" };
    context.reporter.say(format_args!(
        "phantom: writing {} {what} to {}",
        parameters.images,
        folder.display()
    ));
    let progress = context.reporter.progress("phantom", "images", Some(parameters.images));
    let made = pool.install(|| generate(folder, parameters, &|images| progress.inc(images)));
    drop(progress);
    let planted = made.map_err(|error| match error {
        PhantomError::TooFewImages { .. }
        | PhantomError::TooManyImages { .. }
        | PhantomError::Occupied { .. }
        | PhantomError::NoName { .. } => StageError::Usage(error.into()),
        error => StageError::Failed(error.into()),
    })?;
    let count = |split: Split| planted.splits.get(&split).map_or(0, |split| split.images);
    context.reporter.say(format_args!(
        "phantom: {} train, {} valid and {} test images, {} faults and {} leaks planted",
        count(Split::Train),
        count(Split::Valid),
        count(Split::Test),
        planted.faults.len(),
        planted.leaks.len()
    ));
    Ok(Outcome::done(summary(&planted)?))
}

fn summary(planted: &Planted) -> Result<serde_json::Value, StageError> {
    Ok(serde_json::to_value(planted).context("cannot describe what was planted")?)
}
