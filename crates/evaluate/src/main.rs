//! `ossify-evaluate`: predictions and label tables to a report.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ossify_evaluate::{ExportArgs, ImportArgs};
use ossify_settings::{StageArgs, run_stage};

/// Scores predictions against the label tables and writes a report for each split
#[derive(Parser)]
#[command(name = "ossify-evaluate", version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    stage: StageArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Compare predictions with a baseline on the same images; the exit code is 3 if they are worse
    /// by more than evaluate.max_drop
    Compare {
        /// The predictions to compare with: an id, "latest", or the path of a predictions table
        baseline: String,
        /// The predictions to compare: also ids, "latest" or paths
        #[arg(required = true, value_name = "OTHER")]
        others: Vec<String>,
        #[command(flatten)]
        stage: StageArgs,
    },
    /// Make a predictions table from the predictions of another tool
    Import {
        #[command(flatten)]
        args: ImportArgs,
        #[command(flatten)]
        stage: StageArgs,
    },
    /// Write the ground truth and the predictions of a split as COCO JSON
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
            Some(
                Command::Compare { stage, .. }
                | Command::Import { stage, .. }
                | Command::Export { stage, .. },
            ) => stage,
        }
    }

    fn stage_name(&self) -> &'static str {
        match self.command {
            None => "evaluate",
            Some(Command::Compare { .. }) => "compare",
            Some(Command::Import { .. }) => "import",
            Some(Command::Export { .. }) => "export",
        }
    }
}

#[global_allocator]
static ALLOCATOR: ossify_process::Allocator = ossify_process::Allocator;

fn main() -> ExitCode {
    let cli = ossify_settings::parse::<Cli>();
    let folders = |_: &Cli| {
        ["tables", "shards", "runs", "predictions", "reports"].map(str::to_owned).to_vec()
    };
    run_stage(cli.stage_name(), cli, Cli::stage, folders, |cli, context| match &cli.command {
        None => ossify_evaluate::run(context),
        Some(Command::Compare { baseline, others, .. }) => {
            ossify_evaluate::compare(context, baseline, others)
        }
        Some(Command::Import { args, .. }) => ossify_evaluate::import(context, args),
        Some(Command::Export { args, .. }) => ossify_evaluate::export(context, args),
    })
}
