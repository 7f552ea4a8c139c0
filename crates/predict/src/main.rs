//! `ossify-predict`: a run and shards, or a folder of images, to predictions.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(
    name = "ossify-predict",
    version,
    about = "Predicts the class and box of each image with a trained run"
)]
struct Cli {
    #[command(flatten)]
    stage: ossify_settings::StageArgs,
    #[command(flatten)]
    share: ossify_settings::ShareArgs,
    /// Device to compute on: auto, cpu, cuda:N or flex [default: predict.device of the
    /// configuration]
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Predict the images in this folder, or this one image, instead of those in the shards
    /// [default: predict.images of the configuration]
    #[arg(long, value_name = "PATH")]
    images: Option<PathBuf>,
    /// Also write these images as pictures with the predicted boxes [default: predict.overlays of
    /// the configuration]
    #[arg(long)]
    overlays: bool,
}

#[global_allocator]
static ALLOCATOR: ossify_process::Allocator = ossify_process::Allocator;

fn main() -> ExitCode {
    ossify_model::device::keep_waiting_threads_short();
    let mut cli = ossify_settings::parse::<Cli>();
    cli.stage.set.extend(cli.device.iter().map(|device| format!("predict.device={device}")));
    cli.stage.set.extend(cli.overlays.then(|| "predict.overlays=true".to_owned()));
    ossify_settings::run_stage(
        "predict",
        cli,
        |cli| &cli.stage,
        |cli| cli.share.share().folders("predict", &["shards", "runs"], "predictions"),
        |cli, context| {
            let request = ossify_predict::Request {
                share: cli.share.share(),
                images: cli.images.clone(),
                wants_overlays: cli.overlays,
            };
            ossify_predict::run(context, request)
        },
    )
}
