//! All shards at once.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Result;
use ossify_contract::Publication;
use ossify_model::on_device;
use ossify_settings::Outcome;

use crate::run::{MEMORY_KEY, report_speed};
use crate::shards::ShardWork;
use crate::tables::TablePair;

/// Predicts all shards, unless that was done.
///
/// # Errors
/// Fails where shards or run are damaged, or the device or the disk fails.
pub(crate) fn predict(work: &ShardWork) -> Result<Outcome> {
    if let Some(outcome) = work.current()? {
        return Ok(outcome);
    }
    let network = work.run.open_network(work.context)?;
    let publication = Publication::begin(work.folder())?;
    let (started, mut shards, mut tables) = (Instant::now(), work.by_split(), BTreeMap::new());
    for split in work.splits.iter().copied() {
        let Some(shards) = shards.remove(&split) else {
            work.context.reporter.say(format_args!("{split}: no images"));
            continue;
        };
        let counts = on_device(MEMORY_KEY, || {
            let pair = TablePair::stage(&publication, split.as_str())?;
            work.predict_split(&network, pair, split, &shards)
        })?;
        tables.insert(split, counts);
    }
    let images = tables.values().map(|counts| counts.images).sum();
    let outcome = work.publish(publication, &tables, &network.description())?;
    report_speed(work.context, images, started, &work.folder());
    Ok(outcome)
}
