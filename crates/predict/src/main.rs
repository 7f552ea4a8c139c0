//! `ossify-predict`: a run and shards, or a folder of images, to predictions.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "ossify-predict", version, about = "Predicts class and box of every image with a trained run")]
struct Cli {
    #[command(flatten)]
    stage: ossify_settings::StageArgs,
    /// Predicts the images of this folder instead of the shards [default: predict.images of the configuration]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
}

fn main() -> ExitCode {
    ossify_model::device::keep_waiting_threads_short();
    ossify_settings::run_stage("predict", Cli::parse(), |cli| &cli.stage, |cli, context| ossify_predict::run(context, cli.images.as_deref()))
}
