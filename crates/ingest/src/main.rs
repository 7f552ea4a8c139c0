//! `ossify-ingest`: a YOLO-labelled dataset to label tables.

use std::process::ExitCode;

use clap::Parser;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use ossify_diagnostics::Format;
use ossify_ingest::rules::{Rule, explain, list};
use ossify_settings::Exit;

/// Reads a YOLO-labelled dataset, finds what is wrong with it, and writes label tables
#[derive(Parser)]
#[command(name = "ossify-ingest", version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    stage: ossify_settings::StageArgs,
    #[command(flatten)]
    share: ossify_settings::ShareArgs,
    /// Print all findings to standard output, in this format
    #[arg(long, value_name = "FORMAT", value_parser = formats(), conflicts_with = "json")]
    format: Option<Format>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Explain a rule: what it finds, why that matters, what ingest does, and how to fix it;
    /// without a name, list all rules
    Explain {
        /// Name of the rule, such as coordinate-count
        rule: Option<String>,
    },
}

#[global_allocator]
static ALLOCATOR: ossify_process::Allocator = ossify_process::Allocator;

/// The values of `--format` with their descriptions.
fn formats() -> impl TypedValueParser<Value = Format> {
    let formats = Format::ALL.map(|format| {
        PossibleValue::new(format.as_str()).help(format.description().trim_end_matches('.'))
    });
    PossibleValuesParser::new(formats).try_map(|word| word.parse::<Format>())
}

fn main() -> ExitCode {
    let cli = ossify_settings::parse::<Cli>();
    if let Some(Command::Explain { rule }) = &cli.command {
        return explain_rule(rule.as_deref());
    }
    ossify_settings::run_stage(
        "ingest",
        cli,
        |cli| &cli.stage,
        |cli| cli.share.share().folders("ingest", &[], "tables"),
        |cli, context| ossify_ingest::run(context, cli.share.share(), cli.format),
    )
}

fn explain_rule(name: Option<&str>) -> ExitCode {
    let text = match name.map(|name| (name, Rule::named(name))) {
        None => list(),
        Some((_, Some(rule))) => explain(rule),
        Some((name, None)) => {
            let hint = Rule::nearest(name)
                .map(|rule| format!("; did you mean {}?", rule.name()))
                .unwrap_or_default();
            eprintln!(
                "error: there is no rule `{}`{hint}; `ossify-ingest explain` lists all rules",
                ossify_diagnostics::printable(name)
            );
            return Exit::Usage.into();
        }
    };
    match ossify_settings::print(text.as_bytes(), "the rules") {
        Ok(()) => Exit::Clean.into(),
        Err(error) => {
            ossify_settings::say_error(&error);
            Exit::Failed.into()
        }
    }
}
