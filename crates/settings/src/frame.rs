use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::args::StageArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::outcome::{Outcome, StageError};
use crate::reporter::{Reporter, Verbosity};

/// The folder whose content is of use before it is whole.
const UNFINISHED: &str = "runs";

/// The command line of this process. One that does not fit ends the process with exit code 2 and
/// the reason; `--help` and `--version` print and end it, with exit code 1 where standard output
/// takes no more.
pub fn parse<Cli: clap::Parser>() -> Cli {
    let print = |message: &clap::Error| {
        if !message.use_stderr() {
            require_stdout()?;
        }
        message.print()
    };
    Cli::try_parse().unwrap_or_else(|message| match print(&message) {
        Err(e) if !message.use_stderr() && e.kind() != io::ErrorKind::BrokenPipe => {
            say_error(&no_output("the help", e));
            std::process::exit(Exit::Failed as i32)
        }
        _ => std::process::exit(message.exit_code()),
    })
}

/// The frame around a stage: resolves the configuration, runs it, says how it ended, and gives the
/// exit code as [`Exit`] has them. Where the work folder lies in an object store, `folders` of it
/// are brought here before and sent back after.
pub fn run_stage<Cli>(
    stage: &str,
    cli: Cli,
    args: impl FnOnce(&Cli) -> &StageArgs,
    folders: impl FnOnce(&Cli) -> Vec<String>,
    run: impl FnOnce(&Cli, &Context) -> Result<Outcome, StageError>,
) -> ExitCode {
    ossify_process::prepare();
    let args = args(&cli).clone();
    let context = match Context::resolve(&args) {
        Ok(context) => context,
        Err(error) => return fail(stage, &args, Exit::Usage, &error.into()),
    };
    if args.print_config {
        return match print(context.print_config().as_bytes(), "the configuration") {
            Err(error) => fail(stage, &args, Exit::Failed, &error),
            Ok(()) => Exit::Clean.into(),
        };
    }
    let folders = folders(&cli);
    let run = || {
        context.pull(&folders)?;
        let outcome = run(&cli, &context);
        // A run that was stopped goes on from what it left, wherever it is run again.
        let left: Vec<String> = folders
            .iter()
            .filter(|folder| outcome.is_ok() || *folder == UNFINISHED)
            .cloned()
            .collect();
        let sent = context.push(&left);
        let outcome = outcome?;
        sent?;
        Ok(outcome)
    };
    match run() {
        Err(StageError::Usage(error)) => fail(stage, &args, Exit::Usage, &error),
        Err(StageError::Failed(error)) => fail(stage, &args, Exit::Failed, &error),
        Ok(outcome) => finish(stage, &args, &context, &outcome),
    }
}

fn finish(stage: &str, args: &StageArgs, context: &Context, outcome: &Outcome) -> ExitCode {
    if outcome.current {
        context
            .reporter
            .say(format_args!("{stage}: already there, nothing to do (--force runs it anyway)"));
    }
    for gate in &outcome.gates {
        error_line(&format!("gate {} not met: {}", gate.name, gate.message));
    }
    if args.json {
        let status = match (outcome.gates.is_empty(), outcome.current) {
            (false, _) => "gate",
            (true, true) => "current",
            (true, false) => "done",
        };
        let summary = serde_json::json!({
            "stage": stage,
            "status": status,
            "out": context.out_name().to_string(),
            "gates": outcome.gates,
            "summary": outcome.summary,
        });
        if let Err(e) = print_whole(format!("{summary}\n").as_bytes()) {
            say_error(&no_output("the summary", e));
            return Exit::Failed.into();
        }
    }
    if outcome.gates.is_empty() { Exit::Clean.into() } else { Exit::Gate.into() }
}

fn fail(stage: &str, args: &StageArgs, exit: Exit, error: &anyhow::Error) -> ExitCode {
    let text = in_words(error);
    error_line(&text);
    if args.json {
        let status = if exit == Exit::Usage { "usage" } else { "failed" };
        let summary = serde_json::json!({ "stage": stage, "status": status, "error": text });
        if let Err(e) = print_whole(format!("{summary}\n").as_bytes()) {
            say_error(&no_output("the summary", e));
        }
    }
    exit.into()
}

/// The error with its causes, each said once, and what helps where that is known.
fn in_words(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    let mut said = text.clone();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Many errors already have their source in their text.
        if !said.contains(&cause) {
            let _ = write!(text, "\n  cause: {cause}");
            said.push_str(&cause);
        }
    }
    for (reason, help) in HELP {
        if said.contains(reason) {
            let _ = write!(text, "\n  help: {help}");
        }
    }
    text
}

/// What the system says where a limit of the process is reached, and how to raise it.
const HELP: [(&str, &str); 3] = [
    (
        "Too many open files",
        "`ulimit -n` says how many files a process may have open; `ulimit -n 4096` allows more",
    ),
    (
        "File too large",
        "`ulimit -f` says how large a file may become; `ulimit -f unlimited` lifts the limit",
    ),
    (
        "Resource temporarily unavailable",
        "where a thread was refused, `ulimit -u` limits their number and `ulimit -v` the memory of \
         their stacks; general.threads asks for fewer",
    ),
];

fn no_output(what: &str, error: io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context(format!("cannot write {what} to standard output"))
}

fn error_line(text: &str) {
    let reporter = Reporter::new(Verbosity::Quiet);
    let _ =
        writeln!(io::stderr(), "{}", reporter.labelled("error", anstyle::AnsiColor::Red, &text));
}

/// Writes `bytes`, which are `what`, to standard output. A reader that has seen enough, as `head`
/// has, is not a failure.
///
/// # Errors
/// Where standard output takes no more, as on a full disk.
pub fn print(bytes: &[u8], what: &str) -> anyhow::Result<()> {
    match print_whole(bytes) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(no_output(what, e)),
        _ => Ok(()),
    }
}

fn require_stdout() -> io::Result<()> {
    if ossify_process::stdout_was_closed() {
        return Err(io::Error::other("it is closed"));
    }
    Ok(())
}

fn print_whole(bytes: &[u8]) -> io::Result<()> {
    require_stdout()?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Says an error on standard error: each cause once, and what helps where that is known.
pub fn say_error(error: &anyhow::Error) {
    error_line(&in_words(error));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_each_cause_once_and_what_helps() {
        let source = io::Error::from_raw_os_error(24);
        let error = anyhow::Error::new(source).context("cannot open a.arrow");
        assert_eq!(
            in_words(&error),
            "cannot open a.arrow\n  cause: Too many open files (os error 24)\n  \
             help: `ulimit -n` says how many files a process may have open; `ulimit -n 4096` \
             allows more"
        );
        let error = anyhow::anyhow!("inner").context("outer: inner");
        assert_eq!(in_words(&error), "outer: inner");
    }
}
