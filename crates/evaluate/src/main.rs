//! `ossify-evaluate`: predictions and label tables to a report.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ossify_evaluate::{ExportArgs, ImportArgs};
use ossify_settings::StageArgs;

/// Scores predictions against the label tables and writes a report for each split
#[derive(Parser)]
#[command(name = "ossify-evaluate", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    stage: StageArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a predictions table of what another tool predicted
    Import {
        #[command(flatten)]
        args: ImportArgs,
        #[command(flatten)]
        stage: StageArgs,
    },
    /// Writes ground truth and predictions of a split as COCO JSON
    Export {
        #[command(flatten)]
        args: ExportArgs,
        #[command(flatten)]
        stage: StageArgs,
    },
}

impl Cli {
    fn stage(&self) -> &StageArgs {
        match &self.command {
            None => &self.stage,
            Some(Command::Import { stage, .. } | Command::Export { stage, .. }) => stage,
        }
    }
}

fn main() -> ExitCode {
    ossify_settings::run_stage("evaluate", Cli::parse(), Cli::stage, |cli, context| match &cli.command {
        None => ossify_evaluate::run(context),
        Some(Command::Import { args, .. }) => ossify_evaluate::import(context, args),
        Some(Command::Export { args, .. }) => ossify_evaluate::export(context, args),
    })
}
