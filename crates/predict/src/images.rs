//! The images of a folder, or one image.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use ossify_contract::{
    Fingerprint, Gate, PredictionsSummary, Publication, Split, Summary as _, UnreadableImage,
};
use ossify_model::on_device;
use ossify_settings::{Context, Outcome};
use ossify_storage::is_url;
use ossify_vocabulary::Task;

use crate::image_folder::ImageFolder;
use crate::overlays::Overlays;
use crate::run::{MEMORY_KEY, Run, STAGE, report_speed};
use crate::tables::{TablePair, describe};

/// Stem of the tables.
const STEM: &str = "images";

/// Predicts the images of a folder, or one image, unless that was done.
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
    let settings = &context.settings.predict;
    if settings.overlays {
        fingerprint.add("overlays").add(settings.overlay_min_score.to_string());
    }
    let fingerprint = fingerprint.finish();
    let folder = context.out.predictions().join(id(run, root)?);
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
    let batch_size = settings.batch_size;
    // The table has a split in each row; images of a folder are in none, and count as test.
    on_device(MEMORY_KEY, || {
        network.predict(images.shape(), Split::Test, &mut tables, &progress, |sender| {
            images.send(batch_size, sender)
        })
    })?;
    drop(progress);
    let counts = tables.finish()?;
    let mut files = describe(&publication, STEM, counts)?.to_vec();
    let description = network.description();
    if settings.overlays {
        #[expect(clippy::cast_possible_truncation, reason = "scores are float32")]
        let overlays = Overlays {
            root: images.root(),
            limits: images.limits(),
            // A classifier's score is of a class, and its box is the only one.
            min_score: match description.task {
                Task::Classify => 0.0,
                Task::Detect => settings.overlay_min_score as f32,
            },
        };
        let (drawn, undrawn) = overlays.draw(&publication, STEM)?;
        files.extend(drawn);
        warn_of(context, &undrawn, "could not be drawn");
    }
    let unreadable = images.unreadable();
    let sentence = |image: &UnreadableImage| format!("{}: {}", image.image_id, image.reason);
    let sentences: Vec<_> = unreadable.iter().map(sentence).collect();
    warn_of(context, &sentences, "could not be read; manifest.json lists all under `unreadable`");
    if counts.images == 0 {
        bail!("none of the {} images of {} could be read", unreadable.len(), root.display());
    }
    let counts_of = BTreeMap::from([(STEM.to_owned(), counts)]);
    let summary = PredictionsSummary {
        source: Some(root.display().to_string()),
        unreadable: Some(unreadable),
        ..run.summary(&description, &counts_of)
    };
    let json = summary.to_json(&folder)?;
    let manifest = publication.commit(STAGE, &fingerprint, files, json)?;
    report_speed(context, counts.images, started, &folder);
    Ok(Outcome::done(manifest.summary).with_gates(strict_gate(context, &summary)))
}

/// Id of the predictions: that of the run, the name of the folder or image, and a hash of where it
/// lies, so that folders of one name have each their own.
fn id(run: &Run, root: &Path) -> Result<String> {
    const MAX_NAME: usize = 40;
    let location = if is_url(root) {
        root.to_path_buf()
    } else {
        let failed = || format!("cannot look up {}", root.display());
        std::fs::canonicalize(root).with_context(failed)?
    };
    let name = location.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
    let name = name.chars().take(MAX_NAME).map(|c| if is_plain(c) { c } else { '-' });
    let hash = Fingerprint::new("images").add(location.as_os_str().as_encoded_bytes()).finish();
    Ok(format!("{}-images-{}-{}", run.id, name.collect::<String>(), &hash[..8]))
}

fn warn_of(context: &Context, sentences: &[String], what: &str) {
    const MAX_SHOWN: usize = 20;
    for sentence in sentences.iter().take(MAX_SHOWN) {
        context.reporter.warn(sentence);
    }
    if sentences.len() > MAX_SHOWN {
        let more = sentences.len() - MAX_SHOWN;
        context.reporter.warn(format_args!("{more} more images {what}"));
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
