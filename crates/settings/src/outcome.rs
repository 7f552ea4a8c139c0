use ossify_contract::ArtefactError;
use serde::{Deserialize, Serialize};

/// A limit that the user set and the data did not meet. A stage lists its unmet gates under `gates`
/// in the summary of its manifest, so that a second run, which does nothing, fails the same way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// The key or flag, as in `evaluate.min_accuracy`.
    pub name: String,
    /// What was measured.
    pub figure: f64,
    /// What was asked for.
    pub limit: f64,
    /// One sentence with both.
    pub message: String,
}

/// How a stage ended well.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What it says of its work; the `--json` summary.
    pub summary: serde_json::Value,
    /// Gates that were not met; those of `summary.gates` to begin with.
    pub gates: Vec<Gate>,
    /// Whether the output was already there.
    pub current: bool,
}

impl Outcome {
    /// The stage did its work.
    pub fn done(summary: serde_json::Value) -> Self {
        let gates = summary
            .get("gates")
            .and_then(|gates| serde_json::from_value(gates.clone()).ok())
            .unwrap_or_default();
        Outcome { summary, gates, current: false }
    }

    /// The output was already there; `summary` is that of its manifest.
    pub fn current(summary: serde_json::Value) -> Self {
        Outcome { current: true, ..Self::done(summary) }
    }

    /// Adds a gate that was not met.
    pub fn with_gate(mut self, gate: Gate) -> Self {
        self.gates.push(gate);
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
