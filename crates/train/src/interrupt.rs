use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// Whether somebody asked the run to end: Ctrl-C, or a terminate signal.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens for SIGINT and SIGTERM. A second signal ends the process at once.
    ///
    /// # Errors
    /// Fails where the system refuses handlers.
    pub fn listen() -> Result<Self> {
        let interrupt = Interrupt::default();
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(signal, 1, interrupt.0.clone())
                .context("cannot listen for signals")?;
            signal_hook::flag::register(signal, interrupt.0.clone())
                .context("cannot listen for signals")?;
        }
        Ok(interrupt)
    }

    /// Whether a signal came.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// As [`Interrupt::check`], after a moment of waiting for what another process does.
    ///
    /// # Errors
    /// Fails where a signal came.
    pub fn wait(&self, kept: &str) -> Result<()> {
        const MOMENT: Duration = Duration::from_millis(200);
        std::thread::sleep(MOMENT);
        self.check(kept)
    }

    /// Ends the work where it was asked for; `kept` says what is not lost.
    ///
    /// # Errors
    /// Fails where a signal came.
    pub fn check(&self, kept: &str) -> Result<()> {
        if self.is_requested() {
            bail!("interrupted; {kept}; the same command goes on from there");
        }
        Ok(())
    }
}
