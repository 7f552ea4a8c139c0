//! `ossify-train`: tables and shards to a trained run.

use std::process::ExitCode;

use clap::Parser;
use ossify_train::CliRequest;

#[derive(Parser)]
#[command(
    name = "ossify-train",
    version,
    about = "Trains a DenseNet that predicts a class and a box on tensor shards"
)]
struct Cli {
    #[command(flatten)]
    stage: ossify_settings::StageArgs,
    /// Device to compute on: auto, cpu, cuda:N or flex [default: train.device of the configuration]
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Fail if there is no run to continue; an interrupted run is also continued without this flag
    #[arg(long)]
    resume: bool,
    /// Draw samples as training sees them, with their boxes, to preview.png in the work folder, and
    /// exit
    #[arg(long)]
    preview: bool,
    /// Print each layer's shape, parameters, multiply-adds, and when it is trained, and exit
    #[arg(long, conflicts_with = "preview")]
    summary: bool,
}

#[global_allocator]
static ALLOCATOR: ossify_process::Allocator = ossify_process::Allocator;

fn main() -> ExitCode {
    ossify_model::device::keep_waiting_threads_short();
    let mut cli = ossify_settings::parse::<Cli>();
    cli.stage.set.extend(cli.device.iter().map(|device| format!("train.device={device}")));
    ossify_settings::run_stage(
        "train",
        cli,
        |cli| &cli.stage,
        |_| ["tables", "shards", "runs"].map(str::to_owned).to_vec(),
        |cli, context| {
            ossify_train::run(
                context,
                CliRequest { resume: cli.resume, preview: cli.preview, summary: cli.summary },
            )
        },
    )
}
