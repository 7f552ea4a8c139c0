//! The command line of the resize stage.

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(
    name = "ossify-resize",
    version,
    about = "Turns the images that the tables list into shards of tensors"
)]
struct Cli {
    #[command(flatten)]
    stage: ossify_settings::StageArgs,
    #[command(flatten)]
    share: ossify_settings::ShareArgs,
}

#[global_allocator]
static ALLOCATOR: ossify_process::Allocator = ossify_process::Allocator;

fn main() -> ExitCode {
    ossify_settings::run_stage(
        "resize",
        ossify_settings::parse::<Cli>(),
        |cli| &cli.stage,
        |cli| cli.share.share().folders("resize", &["tables"], "shards"),
        |cli, context| ossify_resize::run(context, cli.share.share()),
    )
}
