//! Turns the files of a split into records, on all threads.

use std::sync::mpsc::sync_channel;

use anyhow::{Context as _, Result};
use ossify_settings::Progress;
use rayon::ThreadPool;
use rayon::prelude::*;

use super::examine::Examiner;
use super::record::{Record, Stray, StrayKind};
use crate::find::listing::Listing;
use crate::find::stamp::STAMPED_TOGETHER;

/// Number of images examined per batch; bounds the memory.
const BATCH_IMAGES: usize = STAMPED_TOGETHER;

/// Calls `take` with all records of a split in order. While a batch of images is written, the
/// threads work on the next.
///
/// # Errors
/// Fails if a label file cannot be read, or if `take` fails.
pub(crate) fn read_split(
    examiner: &Examiner,
    listing: &Listing,
    pool: &ThreadPool,
    progress: &Progress,
    take: &mut dyn FnMut(Record) -> Result<()>,
) -> Result<()> {
    std::thread::scope(|scope| -> Result<()> {
        let (sender, batches) = sync_channel::<Result<Vec<Record>>>(1);
        let read_ahead = move || {
            for start in (0..listing.images().len()).step_by(BATCH_IMAGES) {
                let end = listing.images().len().min(start + BATCH_IMAGES);
                let image = |at| {
                    examiner.image(listing, at).map(|examined| Record::Image(Box::new(examined)))
                };
                let batch = pool
                    .install(|| (start..end).into_par_iter().with_min_len(16).map(image).collect());
                // If the receiver is gone, it has reported an error of its own.
                if sender.send(batch).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .spawn_scoped(scope, read_ahead)
            .context("cannot start a thread that reads label files")?;
        for batch in batches {
            let batch = batch?;
            progress.inc(batch.len() as u64);
            batch.into_iter().try_for_each(&mut *take)?;
        }
        Ok(())
    })?;
    strays(examiner, listing, pool)?
        .into_iter()
        .try_for_each(|stray| take(Record::Stray(Box::new(stray))))
}

/// Findings of the listing, label files that two images share, and label files without an image.
fn strays(examiner: &Examiner, listing: &Listing, pool: &ThreadPool) -> Result<Vec<Stray>> {
    let listed = |finding: &ossify_diagnostics::Finding| Stray {
        kind: StrayKind::Listed,
        path: finding.location.path.clone(),
        finding: Some(finding.clone()),
        lines: 0,
        stamp: None,
    };
    let mut shared: Vec<u32> = (0..listing.images().len())
        .filter(|at| listing.collides(*at))
        .filter_map(|at| listing.label_of(at))
        .collect();
    shared.sort_unstable();
    shared.dedup();
    let mut strays: Vec<Stray> = listing.findings().iter().map(listed).collect();
    pool.install(|| {
        strays.extend(
            shared
                .par_iter()
                .map(|label| examiner.shared_label(listing, *label))
                .collect::<Result<Vec<_>>>()?,
        );
        strays.extend(
            listing
                .orphans()
                .par_iter()
                .map(|label| examiner.orphan(listing, *label))
                .collect::<Result<Vec<_>>>()?,
        );
        Ok(strays)
    })
}
