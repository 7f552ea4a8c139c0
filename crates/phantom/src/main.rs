//! `ossify-phantom`: makes a synthetic dataset of radiographs with YOLO labels.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use ossify_phantom::Parameters;
use ossify_settings::{Context, Outcome, StageArgs, StageError, run_stage};

/// Draws synthetic radiographs with YOLO labels, and prints as JSON what faults it planted.
#[derive(Parser)]
#[command(name = "ossify-phantom", version)]
struct Cli {
    #[command(flatten)]
    stage: StageArgs,
    /// Images over all splits, at least 20 [default: phantom.images of the configuration]
    #[arg(long, value_name = "N")]
    images: Option<u64>,
    /// Seed of everything [default: phantom.seed of the configuration]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Writes the same labels beside one tiny picture under many names, for tests of scale
    #[arg(long)]
    labels_only: bool,
}

#[global_allocator]
static ALLOCATOR: ossify_process::Allocator = ossify_process::Allocator;

fn main() -> ExitCode {
    let mut cli = ossify_settings::parse::<Cli>();
    cli.stage.set.extend(cli.images.iter().map(|images| format!("phantom.images={images}")));
    cli.stage.set.extend(cli.seed.iter().map(|seed| format!("phantom.seed={seed}")));
    run_stage("phantom", cli, |cli| &cli.stage, |_| Vec::new(), run)
}

fn run(cli: &Cli, context: &Context) -> Result<Outcome, StageError> {
    let settings = &context.settings.phantom;
    let parameters = Parameters {
        images: settings.images,
        seed: settings.seed,
        labels_only: cli.labels_only,
        leaks: settings.leaks,
    };
    let outcome = ossify_phantom::run(context, &parameters)?;
    if !cli.stage.json {
        // With --json it is part of the summary.
        writeln!(std::io::stdout(), "{:#}", outcome.summary)
            .context("cannot write what was planted to standard output")?;
    }
    Ok(outcome)
}
