use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// How much is said on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors alone.
    Quiet,
    /// What a person wants to know.
    Normal,
    /// Details, too.
    Verbose,
}

/// Says things to people, on standard error.
#[derive(Clone, Debug)]
pub struct Reporter {
    verbosity: Verbosity,
    bars: Option<MultiProgress>,
    color: bool,
}

impl Reporter {
    /// A reporter on standard error; bars where that is a terminal, colours where they are welcome.
    pub fn new(verbosity: Verbosity) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let color =
            anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
        let bars = (is_terminal && verbosity >= Verbosity::Normal)
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Reporter { verbosity, bars, color }
    }

    /// How much is said.
    pub fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    /// Whether colours are welcome.
    pub fn color(&self) -> bool {
        self.color
    }

    /// Says a line, unless quiet.
    pub fn say(&self, text: impl Display) {
        if self.verbosity >= Verbosity::Normal {
            self.print(&format!("{text}"));
        }
    }

    /// Says a line where details were asked for.
    pub fn detail(&self, text: impl Display) {
        if self.verbosity >= Verbosity::Verbose {
            self.print(&format!("{text}"));
        }
    }

    /// Warns, unless quiet.
    pub fn warn(&self, text: impl Display) {
        if self.verbosity >= Verbosity::Normal {
            self.print(&self.labelled("warning", anstyle::AnsiColor::Yellow, &text));
        }
    }

    pub(crate) fn labelled(
        &self,
        label: &str,
        color: anstyle::AnsiColor,
        text: &impl Display,
    ) -> String {
        let style = if self.color { color.on_default().bold() } else { anstyle::Style::new() };
        format!("{style}{label}{style:#}: {text}")
    }

    fn print(&self, text: &str) {
        match &self.bars {
            Some(bars) => {
                bars.suspend(|| eprint_line(text));
            }
            None => eprint_line(text),
        }
    }

    /// Shows how far a piece of work is: a bar on a terminal, elsewhere a plain line every five
    /// seconds.
    pub fn progress(&self, what: &str, unit: &str, total: Option<u64>) -> Progress {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(total.map_or_else(ProgressBar::new_spinner, ProgressBar::new));
            let template = if total.is_some() {
                "{prefix} {wide_bar:.cyan/blue} {human_pos}/{human_len} {unit}, {rate}, \
                 {eta} left {msg}"
            } else {
                "{prefix} {spinner} {human_pos} {unit}, {rate} {msg}"
            };
            let unit = unit.to_owned();
            let rate_unit = unit.clone();
            if let Ok(style) = ProgressStyle::with_template(template) {
                let style = style
                    .with_key("unit", move |_: &ProgressState, text: &mut dyn std::fmt::Write| {
                        let _ = text.write_str(&unit);
                    })
                    .with_key(
                        "rate",
                        move |state: &ProgressState, text: &mut dyn std::fmt::Write| {
                            let _ = write!(text, "{:.0} {rate_unit}/s", state.per_sec());
                        },
                    );
                bar.set_style(style);
            }
            bar.set_prefix(what.to_owned());
            bar
        });
        Progress {
            reporter: self.clone(),
            bar,
            what: what.to_owned(),
            unit: unit.to_owned(),
            total,
            done: AtomicU64::new(0),
            started: Instant::now(),
            next_line_millis: AtomicU64::new(PLAIN_LINE_EVERY.as_millis() as u64),
            message: Mutex::new(String::new()),
        }
    }
}

/// A line that a closed pipe may swallow: nobody listens there, and the work goes on.
fn eprint_line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

const PLAIN_LINE_EVERY: Duration = Duration::from_secs(5);

/// A piece of work under way; finished when dropped. Shared by threads.
#[derive(Debug)]
pub struct Progress {
    reporter: Reporter,
    bar: Option<ProgressBar>,
    what: String,
    unit: String,
    total: Option<u64>,
    done: AtomicU64,
    started: Instant,
    next_line_millis: AtomicU64,
    message: Mutex<String>,
}

impl Progress {
    /// Counts `n` more units as done.
    pub fn inc(&self, n: u64) {
        let done = self.done.fetch_add(n, Ordering::Relaxed) + n;
        if let Some(bar) = &self.bar {
            bar.inc(n);
            return;
        }
        let elapsed = self.started.elapsed();
        let due = self.next_line_millis.load(Ordering::Relaxed);
        let now = elapsed.as_millis() as u64;
        let next = now + PLAIN_LINE_EVERY.as_millis() as u64;
        if now >= due
            && self
                .next_line_millis
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            let rate = done as f64 / elapsed.as_secs_f64();
            let line = match self.total {
                Some(total) => {
                    let left = (total.saturating_sub(done)) as f64 / rate.max(1e-9);
                    format!(
                        "{}: {done} of {total} {}, {rate:.0} a second, {left:.0} s left",
                        self.what, self.unit
                    )
                }
                None => format!("{}: {done} {}, {rate:.0} a second", self.what, self.unit),
            };
            let message = self.message.lock().unwrap_or_else(PoisonError::into_inner);
            self.reporter.say(if message.is_empty() { line } else { format!("{line}, {message}") });
        }
    }

    /// Shows a word beside the bar, or at the end of plain lines.
    pub fn message(&self, text: impl Display) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_string()),
            None => *self.message.lock().unwrap_or_else(PoisonError::into_inner) = text.to_string(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
