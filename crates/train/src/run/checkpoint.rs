use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use ossify_contract::{EpochMetrics, Fingerprint, write_atomic};
use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};

use crate::objective::scores::Scores;
use crate::optimise::parameters::ParameterData;

/// Everything about a run but its tensors. Which samples come next follows from the numbers of
/// epochs and batches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Fingerprint of all that decides what each step does; a checkpoint of another recipe is not
    /// continued.
    pub recipe: String,
    /// Epochs that are done.
    pub epoch: u32,
    /// Optimiser steps that are done.
    pub step: u64,
    /// Batches of the epoch under way that are done.
    pub batches: usize,
    /// Scores over these batches.
    pub scores: Scores,
    /// Of all batches so far.
    pub batches_digest: u64,
    /// The epoch from which on samples are neither mosaics nor mixed, once it has begun.
    #[serde(default)]
    pub plain_from: Option<u32>,
    /// Steps of the optimiser, which each phase starts at 0.
    pub optimiser_steps: u64,
    /// When the run began, seconds since 1970.
    pub began_unix_secs: f64,
    /// Seconds spent so far, in all sessions.
    pub elapsed_secs: f64,
    /// Seconds that the last whole epoch took.
    pub epoch_secs: f64,
    /// One entry an epoch.
    pub metrics: Vec<EpochMetrics>,
}

/// A checkpoint: of the last step what training goes on from, of the best epoch the network to use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// The state.
    pub state: RunState,
    /// The trained module's numbers; in the checkpoint of the best epoch the average's, where there
    /// is one.
    pub model: BTreeMap<String, ParameterData>,
    /// The optimiser's moments; empty in the checkpoint of the best epoch.
    pub optimiser: BTreeMap<String, ParameterData>,
    /// The same module's numbers in the average over steps; empty where there is none, and in the
    /// checkpoint of the best epoch.
    pub average: BTreeMap<String, ParameterData>,
}

impl Checkpoint {
    /// Every tensor by its name in the file, in one order.
    fn tensors(&self) -> impl Iterator<Item = (String, &ParameterData)> {
        let parts = [(MODEL, &self.model), (OPTIMISER, &self.optimiser), (AVERAGE, &self.average)];
        parts.into_iter().flat_map(|(prefix, part)| {
            part.iter().map(move |(name, data)| (format!("{prefix}{name}"), data))
        })
    }
}

/// Path of the one file of a checkpoint: `checkpoints/last/checkpoint.safetensors`.
pub fn checkpoint_file(run: &Path, name: &str) -> PathBuf {
    run.join("checkpoints").join(name).join("checkpoint.safetensors")
}

/// The checkpoint before the last one.
fn previous_file(run: &Path) -> PathBuf {
    run.join("checkpoints").join("last").join("previous.safetensors")
}

/// Where the next best checkpoint waits until the last one names its epoch: two files cannot be
/// replaced at once.
pub fn next_best_file(run: &Path) -> PathBuf {
    run.join("checkpoints").join("best").join("next.safetensors")
}

/// Makes the next best checkpoint the best one.
///
/// # Errors
/// Fails where the disk does.
pub fn promote_best(run: &Path) -> Result<()> {
    let (next, best) = (next_best_file(run), checkpoint_file(run, "best"));
    std::fs::rename(&next, &best)
        .with_context(|| format!("cannot rename {} to {}", next.display(), best.display()))
}

/// Finishes or forgets what a killed run left between the two: `best_epoch` is the best of the last
/// checkpoint.
///
/// # Errors
/// Fails where the disk does.
pub fn settle_best(run: &Path, best_epoch: Option<u32>) -> Result<()> {
    let next = next_best_file(run);
    // What was cut short while it was written never got this name. Where it is damaged, the last
    // checkpoint may go on without it; if not, the network of the best epoch is missed at the end.
    let epoch_of = |waiting: &Checkpoint| waiting.state.metrics.last().map(|metrics| metrics.epoch);
    match load(&next) {
        Ok(None) => Ok(()),
        Ok(Some(waiting)) if epoch_of(&waiting) == best_epoch => promote_best(run),
        Ok(Some(_)) | Err(_) => {
            std::fs::remove_file(&next).with_context(|| format!("cannot remove {}", next.display()))
        }
    }
}

/// Removes all checkpoints of a run.
///
/// # Errors
/// Fails where the disk does.
pub fn remove_all(run: &Path) -> Result<()> {
    let folder = run.join("checkpoints");
    match std::fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Replaces the checkpoint at once: a reader, or a run that continues, finds the old one or the new
/// one.
///
/// # Errors
/// Fails where the disk does.
pub fn save(path: &Path, checkpoint: &Checkpoint) -> Result<()> {
    let tensors = checkpoint.tensors().map(|(name, data)| (name, Numbers(data)));
    let state = serde_json::to_string(&checkpoint.state)?;
    let hash = content_hash(&state, checkpoint);
    let metadata = HashMap::from([(STATE.to_owned(), state), (HASH.to_owned(), hash)]);
    let bytes = safetensors::serialize(tensors, Some(metadata))
        .map_err(|e| anyhow!("{}: cannot encode the checkpoint: {e}", path.display()))?;
    Ok(write_atomic(path, &bytes)?)
}

/// As [`save`], of the last step; the checkpoint of the step before it is kept, should this one be
/// damaged.
///
/// # Errors
/// Fails where the disk does.
pub fn save_last(run: &Path, checkpoint: &Checkpoint) -> Result<()> {
    let (last, previous) = (checkpoint_file(run, "last"), previous_file(run));
    if last.exists() {
        second_name(&last, &previous)?;
    }
    save(&last, checkpoint)
}

/// Gives a file a second name, which may be in use for another one: as a link where the file system
/// has them, else as a copy.
///
/// # Errors
/// Fails where the disk does.
pub fn second_name(path: &Path, other: &Path) -> Result<()> {
    if let Some(folder) = other.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create the folder {}", folder.display()))?;
    }
    match std::fs::remove_file(other) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(e).with_context(|| format!("cannot remove {}", other.display()));
        }
        _ => {}
    }
    std::fs::hard_link(path, other)
        .or_else(|_| std::fs::copy(path, other).map(|_| ()))
        .with_context(|| format!("cannot copy {} to {}", path.display(), other.display()))
}

/// The checkpoint of the last step, or where it is damaged the one before it; `None` where there is
/// none. `warn` gets what is wrong with the last one.
///
/// # Errors
/// Fails where neither can be used.
pub fn load_last(run: &Path, warn: impl FnOnce(String)) -> Result<Option<Checkpoint>> {
    let damage = match load(&checkpoint_file(run, "last")) {
        Ok(found) => return Ok(found),
        Err(damage) => damage,
    };
    match load(&previous_file(run)) {
        Ok(Some(previous)) => {
            warn(format!("{damage:#}; going on from the checkpoint before it"));
            Ok(Some(previous))
        }
        Ok(None) | Err(_) => Err(damage.context("there is nothing to go on from; use --force")),
    }
}

/// Reads a checkpoint; `None` where there is none.
///
/// # Errors
/// Fails where the file is there and is damaged, or is not a checkpoint.
pub fn load(path: &Path) -> Result<Option<Checkpoint>> {
    ossify_storage::fetch(path).with_context(|| format!("cannot fetch {}", path.display()))?;
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
    };
    decode(&bytes).map(Some).with_context(|| {
        format!("{} is damaged, or not a checkpoint of this version", path.display())
    })
}

/// Optimiser steps that a checkpoint says were done, of which its header alone is read; `None`
/// where there is no checkpoint, or one that says nothing.
///
/// # Errors
/// Fails where the file is there and cannot be read.
pub fn steps(path: &Path) -> Result<Option<u64>> {
    #[derive(Deserialize)]
    struct Header {
        #[serde(rename = "__metadata__")]
        metadata: HashMap<String, String>,
    }
    ossify_storage::fetch(path).with_context(|| format!("cannot fetch {}", path.display()))?;
    let header = || -> std::io::Result<Vec<u8>> {
        let (mut file, mut length, mut header) = (File::open(path)?, [0; 8], Vec::new());
        file.read_exact(&mut length)?;
        file.take(u64::from_le_bytes(length)).read_to_end(&mut header)?;
        Ok(header)
    };
    let header = match header() {
        Ok(header) => header,
        Err(e) if [ErrorKind::NotFound, ErrorKind::UnexpectedEof].contains(&e.kind()) => {
            return Ok(None);
        }
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
    };
    let state = serde_json::from_slice(&header)
        .ok()
        .and_then(|header: Header| serde_json::from_str(header.metadata.get(STATE)?).ok());
    Ok(state.map(|state: RunState| state.step))
}

fn decode(bytes: &[u8]) -> Result<Checkpoint> {
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    let text = |key: &str| {
        let entries = metadata.metadata().as_ref()?;
        entries.get(key)
    };
    let state = text(STATE).context("it has no state")?;
    let hash = text(HASH).context("it has no checksum")?;
    let mut checkpoint = Checkpoint { state: serde_json::from_str(state)?, ..Default::default() };
    for (name, view) in SafeTensors::deserialize(bytes)?.iter() {
        let values = view
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|number| f32::from_le_bytes(*number))
            .collect();
        let data = ParameterData { shape: view.shape().to_vec(), values };
        let parts = [
            (MODEL, &mut checkpoint.model),
            (OPTIMISER, &mut checkpoint.optimiser),
            (AVERAGE, &mut checkpoint.average),
        ];
        if let Some((name, part)) =
            parts.into_iter().find_map(|(prefix, part)| Some((name.strip_prefix(prefix)?, part)))
        {
            part.insert(name.to_owned(), data);
        }
    }
    if content_hash(state, &checkpoint) != *hash {
        bail!("its content does not have the checksum that it was saved with");
    }
    Ok(checkpoint)
}

/// XXH3 (128 bits) of all that a checkpoint holds, 32 hexadecimal digits.
fn content_hash(state: &str, checkpoint: &Checkpoint) -> String {
    let mut fingerprint = Fingerprint::new("checkpoint");
    fingerprint.add(state);
    for (name, data) in checkpoint.tensors() {
        fingerprint.add(name).add(format!("{:?}", data.shape)).add(Numbers(data).data());
    }
    fingerprint.finish()
}

/// Keys of a checkpoint's metadata.
const STATE: &str = "state";
const HASH: &str = "xxh3";

const MODEL: &str = "model.";
const OPTIMISER: &str = "optimiser.";
const AVERAGE: &str = "average.";

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
        assert!(load(&path).unwrap().is_none() && steps(&path).unwrap().is_none());
        let state = RunState {
            recipe: "f".into(),
            epoch: 3,
            step: 30,
            batches: 4,
            batches_digest: u64::MAX,
            elapsed_secs: 0.1,
            metrics: vec![EpochMetrics {
                epoch: 3,
                learning_rate: 1.0 / 3.0,
                ..Default::default()
            }],
            ..Default::default()
        };
        let model = BTreeMap::from([
            ("a.weight".to_owned(), numbers(&[1.5, f32::MIN_POSITIVE])),
            ("b".to_owned(), numbers(&[])),
        ]);
        let optimiser = BTreeMap::from([("a.weight.first".to_owned(), numbers(&[-0.0, 3.0]))]);
        let average = BTreeMap::from([("a.weight".to_owned(), numbers(&[0.5, 1.0]))]);
        let saved = Checkpoint { state, model, optimiser, average };
        save(&path, &saved).unwrap();
        assert_eq!(load(&path).unwrap().unwrap(), saved);
        assert_eq!(steps(&path).unwrap(), Some(30));
        for cut in [0, 7, 8, 100] {
            let bytes = std::fs::read(&path).unwrap();
            let shorter = folder.path().join("cut");
            std::fs::write(&shorter, &bytes[..cut]).unwrap();
            assert_eq!(steps(&shorter).unwrap(), None, "{cut}");
        }
    }

    #[test]
    fn the_best_checkpoint_is_the_one_that_the_last_one_names() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path();
        let of = |epoch| {
            let state = RunState {
                metrics: vec![EpochMetrics { epoch, ..Default::default() }],
                ..Default::default()
            };
            Checkpoint { state, ..Default::default() }
        };
        let best =
            || load(&checkpoint_file(run, "best")).unwrap().map(|best| best.state.metrics[0].epoch);
        settle_best(run, None).unwrap();
        save(&next_best_file(run), &of(1)).unwrap();
        settle_best(run, Some(1)).unwrap();
        assert_eq!(best(), Some(1));
        // Killed before the last checkpoint had epoch 2: it will be trained again.
        save(&next_best_file(run), &of(2)).unwrap();
        settle_best(run, Some(1)).unwrap();
        assert_eq!((best(), next_best_file(run).exists()), (Some(1), false));
    }

    fn one_tensor(epoch: u32) -> Checkpoint {
        Checkpoint {
            state: RunState { epoch, ..Default::default() },
            model: BTreeMap::from([("a".to_owned(), numbers(&[1.0]))]),
            ..Default::default()
        }
    }

    #[test]
    fn a_checkpoint_cut_short_is_an_error_that_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = checkpoint_file(folder.path(), "last");
        save(&path, &one_tensor(1)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let error = format!("{:#}", load_last(folder.path(), |_| ()).unwrap_err());
        assert!(
            error.starts_with("there is nothing to go on from; use --force: ")
                && error.contains("is damaged, or not a checkpoint of this version"),
            "{error}"
        );
    }

    #[test]
    fn whichever_bit_is_flipped_is_noticed_and_the_checkpoint_before_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = checkpoint_file(folder.path(), "last");
        let saved = [1, 2].map(one_tensor);
        saved.iter().for_each(|saved| save_last(folder.path(), saved).unwrap());
        let whole = std::fs::read(&path).unwrap();
        let mut fell_back = 0;
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &damaged).unwrap();
            let mut warning = String::new();
            let found = load_last(folder.path(), |text| warning = text).unwrap().unwrap();
            // Of the file's own framing a bit may change nothing.
            assert_eq!(found, saved[if warning.is_empty() { 1 } else { 0 }], "bit {bit}");
            fell_back += usize::from(!warning.is_empty());
        }
        assert!(fell_back > whole.len() * 7, "{fell_back} of {} bits", whole.len() * 8);
    }
}
