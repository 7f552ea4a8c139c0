//! `ossify-train`: tables and shards to a trained run.

use std::process::ExitCode;

use clap::Parser;
use ossify_train::CliRequest;

#[derive(Parser)]
#[command(
    name = "ossify-train",
    version,
    about = "Trains a DenseNet with a class head and a box head on tensor shards"
)]
struct Cli {
    #[command(flatten)]
    stage: ossify_settings::StageArgs,
    /// Where to compute: auto, cpu, cuda:N or flex [default: train.device of the configuration]
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Fails unless there is a run to continue; without this flag, too, a run that was cut short is
    /// continued
    #[arg(long)]
    resume: bool,
    /// Draws preview.png into the work folder, samples as training would see them with their boxes,
    /// and ends
    #[arg(long)]
    preview: bool,
    /// Prints each layer's shape, parameters and multiply-adds, and what is trained when, and ends
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
