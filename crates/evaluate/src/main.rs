//! `ossify-evaluate`: predictions and label tables to a report.

use std::process::ExitCode;

use clap::Parser;
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

#[derive(clap::Subcommand)]
enum Command {
    /// Compares predictions with a baseline on the same images; exit code 3 where they are worse by more than
    /// evaluate.max_drop
    Compare(Compare),
}

#[derive(clap::Args)]
struct Compare {
    /// Id of the predictions that the others are compared with, "latest", or the path of a predictions table
    baseline: String,
    /// Predictions that are compared with it, named likewise
    #[arg(required = true, value_name = "OTHER")]
    others: Vec<String>,
    #[command(flatten)]
    stage: StageArgs,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        None => run_stage("evaluate", cli.stage, |stage| stage, |_, context| ossify_evaluate::run(context)),
        Some(Command::Compare(compare)) => {
            run_stage("compare", compare, |compare| &compare.stage, |compare, context| ossify_evaluate::compare(context, &compare.baseline, &compare.others))
        }
    }
}
