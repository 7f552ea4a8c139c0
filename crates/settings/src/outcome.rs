use ossify_contract::{ArtefactError, Gate};

/// How a stage ended well.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What it says of its work; the `--json` summary.
    pub summary: serde_json::Value,
    /// Gates that were not met.
    pub gates: Vec<Gate>,
    /// Whether the output was already there.
    pub current: bool,
}

impl Outcome {
    /// The stage did its work.
    pub fn done(summary: serde_json::Value) -> Self {
        Outcome { summary, gates: Vec::new(), current: false }
    }

    /// The output was already there; `summary` is that of its manifest.
    pub fn current(summary: serde_json::Value) -> Self {
        Outcome { current: true, ..Self::done(summary) }
    }

    /// Adds gates that were not met.
    #[must_use]
    pub fn with_gates(mut self, gates: impl IntoIterator<Item = Gate>) -> Self {
        self.gates.extend(gates);
        self
    }
}

/// How a stage ended badly.
#[derive(Debug)]
pub enum StageError {
    /// The command line or the configuration is wrong: exit code 2.
    Usage(anyhow::Error),
    /// The run failed: exit code 1.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for StageError {
    fn from(error: anyhow::Error) -> Self {
        StageError::Failed(error)
    }
}

impl From<ArtefactError> for StageError {
    fn from(error: ArtefactError) -> Self {
        StageError::Failed(error.into())
    }
}
