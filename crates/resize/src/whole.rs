//! Makes all shards, starting from those that already exist.

use std::fs::File;

use ossify_contract::{
    FailedImage, IssueRow, Manifest, Publication, ShardsSummary, TableReader, begin_unchanged,
};
use ossify_settings::{Context, Outcome, StageError};
use ossify_storage::is_url;

use crate::kept::keep_published;
use crate::names::ISSUES;
use crate::plan::Plan;
use crate::shard_record::Store;
use crate::stage::{Begun, Stage};

/// Makes the missing shards, and publishes all.
pub(crate) fn run(context: &Context) -> Result<Outcome, StageError> {
    let plan = || {
        let mut stage = Stage::plan(context)?;
        stage.plan.look_up(&context.dataset, |_| true)?;
        stage.clock.lap("looked files up");
        Ok(stage)
    };
    let (mut stage, begun) = begin_unchanged(plan, |stage| stage.inputs(), begin)?;
    let publication = match begun {
        Begun::Current(outcome) => return Ok(outcome),
        Begun::Publication(publication) => publication,
    };
    let known = known_shards(context, &stage.plan, &publication)?;
    stage.make_shards(|shard| !known[shard], Store::Staging(&publication))?;
    stage.publish(publication)
}

/// Locks the output, unless it is there already.
fn begin(stage: &Stage) -> Result<Begun, StageError> {
    let (context, folder) = (stage.context, stage.context.out.shards());
    if context.force {
        return Ok(Begun::Publication(Publication::begin(&folder)?));
    }
    // Checked first, because a run that was killed while it retried those images has staged
    // complete shards.
    let is_to_read_again = Manifest::is_current(&folder, &stage.plan.fingerprint())
        .is_some_and(|manifest| can_now_be_read(context, &manifest));
    if !is_to_read_again && let Some(outcome) = stage.current() {
        return Ok(Begun::Current(outcome));
    }
    Ok(Begun::Publication(Publication::resume(&folder)?))
}

/// Which shards of the plan need not be made: those that a killed run finished, and those of the
/// previous output that are still valid.
fn known_shards(
    context: &Context,
    plan: &Plan,
    publication: &Publication,
) -> Result<Vec<bool>, StageError> {
    let mut known = Vec::with_capacity(plan.shards.len());
    for shard in &plan.shards {
        known.push(Store::Staging(publication).has(shard)?);
    }
    let count = |known: &[bool]| {
        plan.shards
            .iter()
            .zip(known)
            .filter(|(_, known)| **known)
            .map(|(shard, _)| shard.images)
            .sum::<usize>()
    };
    let finished = count(&known);
    if finished > 0 {
        context.reporter.say(format_args!(
            "resize: going on where the last run was stopped; {finished} of {} images are done",
            plan.images()
        ));
    }
    if !context.force {
        keep_published(plan, &mut known, publication)?;
        let kept = count(&known) - finished;
        if kept > 0 {
            context.reporter.say(format_args!(
                "resize: {kept} of {} images are in shards that stay as they are",
                plan.images()
            ));
        }
    }
    Ok(known)
}

/// Whether an image that the last run could not read can be opened now.
fn can_now_be_read(context: &Context, manifest: &Manifest) -> bool {
    let summary = manifest.summary_of::<ShardsSummary>(&context.out.shards());
    if summary.is_ok_and(|summary| summary.failed_images == 0) {
        return false;
    }
    let shards = context.out.shards();
    let is_whole = manifest.file(ISSUES).is_some_and(|file| file.verify(&shards).is_ok());
    let Ok(issues) = TableReader::<IssueRow>::open(shards.join(ISSUES)) else { return true };
    if !is_whole {
        return true;
    }
    let withheld = issues.flatten().flatten().filter(|issue| issue.rule == FailedImage::NOT_READ);
    withheld.into_iter().any(|issue| {
        let path = context.dataset.join(issue.path);
        if is_url(&path) {
            ossify_storage::is_file(&path).unwrap_or(true)
        } else {
            File::open(path).is_ok()
        }
    })
}
