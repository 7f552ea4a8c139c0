use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use ossify_contract::{EpochMetrics, write_atomic};
use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};

use crate::parameters::ParameterData;

/// Everything about a run that is no tensor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Of the run's inputs and configuration; a checkpoint of another run is not continued.
    pub fingerprint: String,
    /// Epochs that are done.
    pub epoch: u32,
    /// Optimiser steps that are done.
    pub step: u64,
    /// Seconds spent so far, in all sessions.
    pub elapsed_secs: f64,
    /// The best epoch so far.
    pub best: Option<BestEpoch>,
    /// One entry an epoch.
    pub metrics: Vec<EpochMetrics>,
}

/// The epoch whose weights the run will leave behind.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestEpoch {
    /// Epoch from 1.
    pub epoch: u32,
    /// See [`crate::stopping::score`].
    pub score: f64,
}

/// A checkpoint as it is read.
pub struct Checkpoint {
    /// The state.
    pub state: RunState,
    /// The trained module's numbers.
    pub model: BTreeMap<String, ParameterData>,
    /// The optimiser's moments; empty in the checkpoint of the best epoch.
    pub optimiser: BTreeMap<String, ParameterData>,
}

/// Path of the one file of a checkpoint: `checkpoints/last/checkpoint.safetensors`.
pub fn checkpoint_file(run: &Path, name: &str) -> PathBuf {
    run.join("checkpoints").join(name).join("checkpoint.safetensors")
}

/// Replaces the checkpoint at once: a reader, or a run that continues, finds the old one or the new one.
///
/// # Errors
/// Fails where the disk does.
pub fn save(path: &Path, state: &RunState, model: &BTreeMap<String, ParameterData>, optimiser: &BTreeMap<String, ParameterData>) -> Result<()> {
    let tensors = |prefix: &'static str, data| BTreeMap::iter(data).map(move |(name, data)| (format!("{prefix}{name}"), Numbers(data)));
    let metadata = HashMap::from([("state".to_owned(), serde_json::to_string(state)?)]);
    let bytes = safetensors::serialize(tensors(MODEL, model).chain(tensors(OPTIMISER, optimiser)), Some(metadata))
        .map_err(|e| anyhow!("{}: cannot encode the checkpoint: {e}", path.display()))?;
    Ok(write_atomic(path, &bytes)?)
}

/// Reads a checkpoint; `None` where there is none.
///
/// # Errors
/// Fails where the file is there and is no checkpoint.
pub fn load(path: &Path) -> Result<Option<Checkpoint>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
    };
    decode(&bytes).map(Some).with_context(|| format!("{} is no checkpoint of this version; start over with --force", path.display()))
}

fn decode(bytes: &[u8]) -> Result<Checkpoint> {
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    let state = metadata.metadata().as_ref().and_then(|entries| entries.get("state")).context("no state in it")?;
    let mut checkpoint = Checkpoint { state: serde_json::from_str(state)?, model: BTreeMap::new(), optimiser: BTreeMap::new() };
    for (name, view) in SafeTensors::deserialize(bytes)?.iter() {
        let values = view.data().as_chunks::<4>().0.iter().map(|number| f32::from_le_bytes(*number)).collect();
        let data = ParameterData { shape: view.shape().to_vec(), values };
        match (name.strip_prefix(MODEL), name.strip_prefix(OPTIMISER)) {
            (Some(name), _) => checkpoint.model.insert(name.to_owned(), data),
            (_, Some(name)) => checkpoint.optimiser.insert(name.to_owned(), data),
            _ => None,
        };
    }
    Ok(checkpoint)
}

const MODEL: &str = "model.";
const OPTIMISER: &str = "optimiser.";

struct Numbers<'a>(&'a ParameterData);

impl View for Numbers<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.0.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.0.values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
    fn data_len(&self) -> usize {
        self.0.values.len() * size_of::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(values: &[f32]) -> ParameterData {
        ParameterData { shape: vec![values.len(), 1], values: values.to_vec() }
    }

    #[test]
    fn a_checkpoint_comes_back_as_it_was_saved() {
        let folder = tempfile::tempdir().unwrap();
        let path = checkpoint_file(folder.path(), "last");
        assert!(load(&path).unwrap().is_none());
        let state =
            RunState { fingerprint: "f".into(), epoch: 3, step: 30, elapsed_secs: 0.1, best: Some(BestEpoch { epoch: 2, score: 0.7 }), metrics: vec![] };
        let model = BTreeMap::from([("a.weight".to_owned(), numbers(&[1.5, f32::MIN_POSITIVE])), ("b".to_owned(), numbers(&[]))]);
        let optimiser = BTreeMap::from([("a.weight.first".to_owned(), numbers(&[-0.0, 3.0]))]);
        save(&path, &state, &model, &optimiser).unwrap();
        let read = load(&path).unwrap().unwrap();
        assert_eq!((read.state, read.model, read.optimiser), (state, model, optimiser));
    }

    #[test]
    fn a_checkpoint_cut_short_is_an_error_that_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = checkpoint_file(folder.path(), "last");
        save(&path, &RunState::default(), &BTreeMap::from([("a".to_owned(), numbers(&[1.0]))]), &BTreeMap::new()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let error = load(&path).err().unwrap().to_string();
        assert!(error.ends_with("is no checkpoint of this version; start over with --force"), "{error}");
    }
}
