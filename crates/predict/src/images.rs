//! The images of a folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};
use ossify_contract::{
    Gate, PredictionsSummary, Publication, Split, Summary as _, UnreadableImage,
};
use ossify_model::on_device;
use ossify_settings::{Context, Outcome};

use crate::image_folder::ImageFolder;
use crate::run::{MEMORY_KEY, Run, STAGE, report_speed};
use crate::tables::{TablePair, describe};

/// Stem of the tables.
const STEM: &str = "images";

/// Predicts the images of a folder, unless that was done.
///
/// # Errors
/// Fails where no image can be read, or the device or the disk fails.
pub(crate) fn predict(context: &Context, run: &Run, root: &Path) -> Result<Outcome> {
    // Tensors are made as those that the run was trained on, whatever the configuration says now.
    let tensors = run.tensors()?;
    let images = ImageFolder::list(root, tensors.spec(), tensors.limits())?;
    for link in images.loops() {
        context
            .reporter
            .warn(format_args!("{link} is a link to a folder around it; it was not entered"));
    }
    let mut fingerprint = context.fingerprint(STAGE, &[STAGE]);
    fingerprint.add(&run.id).add(&run.model_hash);
    images.add_to(&mut fingerprint)?;
    let fingerprint = fingerprint.finish();
    let id = format!("{}-images", run.id);
    let folder = context.out.predictions().join(&id);
    if !context.force
        && let Some((manifest, summary)) =
            Publication::current_summary::<PredictionsSummary>(&folder, &fingerprint)
    {
        let gate = strict_gate(context, &summary);
        return Ok(Outcome::current(manifest.summary).with_gates(gate));
    }

    let network = run.open_network(context)?;
    let publication = Publication::begin(&folder)?;
    let started = Instant::now();
    let progress = context.reporter.progress("predict", "images", Some(images.len() as u64));
    let mut tables = TablePair::stage(&publication, STEM)?;
    let batch_size = context.settings.predict.batch_size;
    // The table has a split in each row; images of a folder are in none, and count as test.
    on_device(MEMORY_KEY, || {
        network.predict(images.shape(), Split::Test, &mut tables, &progress, |sender| {
            images.send(batch_size, sender)
        })
    })?;
    drop(progress);
    let counts = tables.finish()?;
    let unreadable = images.unreadable();
    warn_of_unreadable(context, &unreadable);
    if counts.images == 0 {
        bail!("none of the {} images of {} could be read", unreadable.len(), root.display());
    }
    let files = describe(&publication, STEM, counts)?.to_vec();
    let counts_of = BTreeMap::from([(STEM.to_owned(), counts)]);
    let summary = PredictionsSummary {
        unreadable: Some(unreadable),
        ..run.summary(&network.description(), &counts_of)
    };
    let json = summary.to_json(&folder)?;
    let manifest = publication.commit(STAGE, &fingerprint, files, json)?;
    report_speed(context, counts.images, started, &folder);
    Ok(Outcome::done(manifest.summary).with_gates(strict_gate(context, &summary)))
}

fn warn_of_unreadable(context: &Context, unreadable: &[UnreadableImage]) {
    const MAX_SHOWN: usize = 20;
    for image in unreadable.iter().take(MAX_SHOWN) {
        context.reporter.warn(format_args!("{}: {}", image.image_id, image.reason));
    }
    if unreadable.len() > MAX_SHOWN {
        context.reporter.warn(format_args!(
            "and {} more images; manifest.json lists all under `unreadable`",
            unreadable.len() - MAX_SHOWN
        ));
    }
}

/// `--strict` belongs to a call and not to what it makes: its gate is judged each time, and never
/// kept.
fn strict_gate(context: &Context, summary: &PredictionsSummary) -> Option<Gate> {
    let unreadable = summary.unreadable.as_ref().map_or(0, Vec::len);
    (context.strict && unreadable > 0).then(|| Gate {
        name: "--strict".to_owned(),
        figure: unreadable as f64,
        limit: 0.0,
        message: format!("{unreadable} images could not be read"),
    })
}
