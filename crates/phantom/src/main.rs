//! `ossify-phantom`: makes a synthetic dataset of radiographs with YOLO labels.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use ossify_phantom::Parameters;
use ossify_settings::{Context, Outcome, StageArgs, StageError, run_stage, whole_number};

/// Draws synthetic radiographs with YOLO labels, and prints the faults that it planted as JSON.
#[derive(Parser)]
#[command(name = "ossify-phantom", version)]
struct Cli {
    #[command(flatten)]
    stage: StageArgs,
    /// Number of images in all splits together, at least 20 [default: phantom.images of the
    /// configuration]
    #[arg(
        long,
        value_name = "N",
        value_parser = |text: &str| whole_number(text, 20, 10_000_000_u64)
    )]
    images: Option<u64>,
    /// Seed of all random choices [default: phantom.seed of the configuration]
    #[arg(long, value_name = "S", value_parser = |text: &str| whole_number(text, 0, u64::MAX))]
    seed: Option<u64>,
    /// Write the same labels, but one tiny picture under all names, to test with many images
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
