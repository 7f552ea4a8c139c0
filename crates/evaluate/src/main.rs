//! `ossify-evaluate`: predictions and label tables to a report.

use std::process::ExitCode;

use clap::Parser;

/// Scores predictions against the label tables and writes a report for each split
#[derive(Parser)]
#[command(name = "ossify-evaluate", version)]
struct Cli {
    #[command(flatten)]
    stage: ossify_settings::StageArgs,
}

fn main() -> ExitCode {
    ossify_settings::run_stage("evaluate", Cli::parse(), |cli| &cli.stage, |_, context| ossify_evaluate::run(context))
}
