//! `ossify-prune`: removes objects that no manifest of a work folder in an object store names.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Parser;
use ossify_settings::{Context, Outcome, StageArgs, StageError, run_stage, whole_number};
use ossify_storage::{Garbage, MIN_PRUNE_AGE, is_url};

/// The folders of a work folder that stages publish to. What else lies there is not ours.
const FOLDERS: [&str; 6] = ["tables", "shards", "parts", "runs", "predictions", "reports"];
const MIN_AGE_HOURS: u64 = MIN_PRUNE_AGE.as_secs() / 3600;
const MAX_AGE_HOURS: u64 = 1_000_000;

/// Finds objects of earlier outputs in an object store that no manifest of the work folder names
/// any more; with --remove, deletes them.
#[derive(Parser)]
#[command(name = "ossify-prune", version)]
struct Cli {
    #[command(flatten)]
    stage: StageArgs,
    /// Keep objects that are younger than this; at least 24, since they may belong to an output
    /// that is being published
    #[arg(
        long,
        value_name = "HOURS",
        default_value_t = 168,
        value_parser = |text: &str| whole_number(text, MIN_AGE_HOURS, MAX_AGE_HOURS)
    )]
    older_than: u64,
    /// Delete the objects instead of listing them
    #[arg(long)]
    remove: bool,
}

#[global_allocator]
static ALLOCATOR: ossify_process::Allocator = ossify_process::Allocator;

fn main() -> ExitCode {
    run_stage("prune", ossify_settings::parse::<Cli>(), |cli| &cli.stage, |_| Vec::new(), run)
}

fn run(cli: &Cli, context: &Context) -> Result<Outcome, StageError> {
    let Some(url) = cli.stage.out.as_deref().filter(|out| is_url(out)) else {
        return Err(StageError::Usage(anyhow!(
            "the work folder {} is on this machine, where stages remove what they replace; name \
             one in an object store, as in --out s3://bucket/work",
            context.out_name()
        )));
    };
    let failed = || format!("cannot prune the work folder {}", url.display());
    let older_than = Duration::from_hours(cli.older_than);
    let garbage = Garbage::find(url, &FOLDERS, older_than).with_context(failed)?;
    if !garbage.is_work_folder() {
        let reason =
            format!("there is no work folder {}: nothing was published there", url.display());
        return Err(StageError::Failed(anyhow!(reason)));
    }
    for folder in garbage.skipped() {
        context.reporter.warn(format_args!(
            "{} was written by an earlier version of ossify that did not finish; nothing in it is \
             removed until a stage has published there again",
            folder.display()
        ));
    }
    let listed: Vec<String> = garbage.objects().map(|(url, _)| url.display().to_string()).collect();
    let sum = if cli.remove {
        let removed = garbage.remove().with_context(failed)?;
        context.reporter.say(format_args!(
            "prune: removed {} objects, {:.1} MB",
            removed.files,
            removed.bytes as f64 / 1e6
        ));
        removed
    } else {
        let found = garbage.sum();
        // With --json they are part of the summary.
        if !cli.stage.json {
            print(&listed).context("cannot write the list to standard output")?;
        }
        context.reporter.say(format_args!(
            "prune: {} objects, {:.1} MB, can go; --remove removes them",
            found.files,
            found.bytes as f64 / 1e6
        ));
        found
    };
    Ok(Outcome::done(serde_json::json!({
        "removed": cli.remove,
        "objects": sum.files,
        "bytes": sum.bytes,
        "found": listed,
    })))
}

/// Writes one name per line to standard output; a reader that closes it early is not an error.
fn print(lines: &[String]) -> io::Result<()> {
    let mut text = String::new();
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e),
        _ => Ok(()),
    }
}
