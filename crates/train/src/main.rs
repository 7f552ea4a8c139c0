//! `ossify-train`: tables and shards to a trained run.

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "ossify-train", version, about = "Trains a DenseNet with a class head and a box head on tensor shards")]
struct Cli {
    #[command(flatten)]
    stage: ossify_settings::StageArgs,
}

fn main() -> ExitCode {
    ossify_settings::run_stage("train", Cli::parse(), |cli| &cli.stage, |_, context| ossify_train::run(context))
}
