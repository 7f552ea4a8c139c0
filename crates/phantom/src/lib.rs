//! Synthetic radiographs with YOLO labels: a dataset that anyone may have, in the layout of the
//! real one, with every fault in it known.
//!
//! Limbs are drawn as rays through bone and soft tissue would show them ([`draw`], [`anatomy`]),
//! broken ([`mod@fracture`]), exposed ([`picture`]) and stored in several formats ([`encode`]). A
//! [`plan`] decides what each image shows, and which of the faults of [`plant`] it carries;
//! [`leak`] puts some of train into the other splits once more, if asked. [`planted::Planted`] says
//! what a reader of labels is to find, no more and no less.
//!
//! The same parameters give the same bytes on any number of threads: each image has dice of its
//! own.
//!
//! With `labels_only` the label files are the same, and each image is one name of a tiny picture: a
//! link costs no space and little time, yet a reader of labels meets as many images as labels and
//! opens each. Faults of pictures are left out then.

pub mod anatomy;
pub mod dataset;
pub mod dice;
pub mod draw;
pub mod encode;
pub mod fracture;
pub mod geometry;
pub mod item;
pub mod leak;
mod parameters;
pub mod picture;
pub mod plan;
pub mod plant;
pub mod planted;

use anyhow::{Context as _, anyhow};
use ossify_contract::Split;
use ossify_settings::{Context, Outcome, StageError};

pub use dataset::{PLANTED_FILE, PhantomError, existing, generate};
pub use parameters::Parameters;
pub use planted::Planted;

/// Makes the phantom dataset in `context.dataset` unless it is there; the summary is the content of
/// `planted.json`.
///
/// # Errors
/// [`StageError::Usage`] for too few images or a folder that holds something else, else where the
/// disk fails.
pub fn run(context: &Context, parameters: &Parameters) -> Result<Outcome, StageError> {
    let folder = &context.named_dataset;
    if ossify_storage::is_url(folder) {
        let reason = "the phantom is written to a folder of this machine; copy it to the object \
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
        "phantom: {} {what} go to {}",
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
