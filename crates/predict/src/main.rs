//! `ossify-predict`: a run and shards, or a folder of images, to predictions.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(
    name = "ossify-predict",
    version,
    about = "Predicts class and box of every image with a trained run"
)]
struct Cli {
    #[command(flatten)]
    stage: ossify_settings::StageArgs,
    #[command(flatten)]
    share: ossify_settings::ShareArgs,
    /// Where to compute: auto, cpu, cuda:N or flex [default: predict.device of the configuration]
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Predicts the images of this folder instead of the shards [default: predict.images of the
    /// configuration]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
}

#[global_allocator]
static ALLOCATOR: ossify_process::Allocator = ossify_process::Allocator;

fn main() -> ExitCode {
    ossify_model::device::keep_waiting_threads_short();
    let mut cli = ossify_settings::parse::<Cli>();
    cli.stage.set.extend(cli.device.iter().map(|device| format!("predict.device={device}")));
    ossify_settings::run_stage(
        "predict",
        cli,
        |cli| &cli.stage,
        |cli| cli.share.share().folders("predict", &["shards", "runs"], "predictions"),
        |cli, context| ossify_predict::run(context, cli.share.share(), cli.images.as_deref()),
    )
}
