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
    /// Fails where there is no run to continue; a run that was cut short is continued without this
    /// flag, too
    #[arg(long)]
    resume: bool,
    /// Draws preview.png into the work folder, samples as training would see them with their boxes,
    /// and ends
    #[arg(long)]
    preview: bool,
    /// Tells of every layer its shape, parameters and multiply-adds, and of what learns, and ends
    #[arg(long, conflicts_with = "preview")]
    summary: bool,
}

fn main() -> ExitCode {
    ossify_model::device::keep_waiting_threads_short();
    let mut cli = Cli::parse();
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
