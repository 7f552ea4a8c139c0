//! Weights in and out: torchvision's files, and our own `model.safetensors`.
//!
//! In files, backbone tensors bear torchvision's names (`features.conv0.weight`,
//! `features.denseblock1.denselayer1.norm1.running_mean`, ...), the grid of cells of
//! `densenet-compact` is `places.*`, and a classifier's head is `head.stages.N.{norm,dense}.*`,
//! `head.classes.*` and `head.boxes.*` with PyTorch's orientation `[outputs, inputs]`, so that
//! `load_state_dict` takes them as they are. A detector's head is `head.levels.N.*`,
//! `head.conv_scores.*`, `head.conv_distances.*`, `head.scores.*` and `head.distances.*`.

mod file;
mod metadata;

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;

pub use metadata::Metadata;

use crate::densenet::Backbone;
use crate::network::Network;
pub use crate::tensors::error::{WeightsError, WeightsProblem};
use crate::tensors::names;
use crate::tensors::state::{self, State};

/// Name in weight files of the parameter at a path of our modules, as in
/// `backbone.blocks.0.layers.1.norm1.gamma`.
pub fn file_name(path: &str) -> String {
    names::file_name(path.split('.'))
}

/// What became of the tensors of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WeightReport {
    /// Tensors of the network that were filled, in the order of the layers.
    pub loaded: Vec<String>,
    /// Tensors of the network that the file does not hold and that keep their values.
    pub missing: Vec<String>,
    /// Floating-point tensors of the file that the network does not use, such as torchvision's
    /// 1,000-class output, by name.
    pub unused: Vec<String>,
}

/// Loads torchvision's weights for a DenseNet of the same architecture into `backbone`: a `.pth` or
/// `.safetensors` file, with the names of today or those from before 2018 (`norm.1`), of a whole
/// model or of its `features` alone. A prefix of `features.` (`module.`, `state_dict.`) is
/// ignored.
///
/// All tensors are checked before the first one is replaced.
///
/// # Errors
/// [`WeightsError`] naming the first tensor that does not fit; `backbone` is unchanged then.
pub fn load_torchvision(
    path: &Path,
    backbone: &mut Backbone,
) -> Result<WeightReport, WeightsError> {
    let state = file::read(path)?.0;
    let state = with_torchvision_names(state);
    let unusable = |problem| WeightsError::Unusable { path: path.to_owned(), problem };
    state::check(backbone, &state, |name| !name.starts_with("features.")).map_err(unusable)?;

    let expected: Vec<String> =
        state::expected(backbone).into_iter().map(|(name, _)| name).collect();
    let (loaded, missing) = expected.into_iter().partition(|name| state.contains_key(name));
    let report: WeightReport = WeightReport { loaded, missing, unused: Vec::new() };
    let unused: Vec<String> =
        state.keys().filter(|name| !report.loaded.contains(name)).cloned().collect();
    if let Some(name) = unused
        .iter()
        .find(|name| name.starts_with("features.") && !name.ends_with(".num_batches_tracked"))
    {
        return Err(unusable(WeightsProblem::Unexpected { name: name.clone() }));
    }
    *backbone = state::apply(backbone.clone(), &state);
    Ok(WeightReport { unused, ..report })
}

fn with_torchvision_names(state: State) -> State {
    const FIRST: &str = "conv0.weight";
    let prefix = state
        .keys()
        .find_map(|name| name.strip_suffix(FIRST))
        .map(str::to_owned)
        .unwrap_or_default();
    let root = prefix.strip_suffix("features.").unwrap_or(&prefix).to_owned();
    let is_features_alone = !prefix.ends_with("features.");
    let renamed = state.into_iter().map(|(name, tensor)| {
        let name = names::modern(name.strip_prefix(&root).unwrap_or(&name));
        (if is_features_alone { format!("features.{name}") } else { name }, tensor)
    });
    renamed.collect()
}

/// Writes the whole network with its description; the same network and description give the same
/// bytes.
///
/// The file appears by renaming, so it is whole or not there. Running statistics are brought up to
/// date first.
///
/// # Errors
/// [`WeightsError`] if the description contradicts the network or the file cannot be written.
pub fn save(path: &Path, network: &Network, metadata: &Metadata) -> Result<(), WeightsError> {
    metadata.validate().map_err(|problem| WeightsError::Description(problem.to_string()))?;
    describes(metadata, network)?;
    let state = state::collect(&network.valid())?;
    file::write(path, &state, &metadata.to_texts())
}

/// Compares the layers that `metadata` describes with those of `network`.
fn describes(metadata: &Metadata, network: &Network) -> Result<(), WeightsError> {
    let described = Network::empty(&metadata.config, &Device::flex())
        .map_err(|error| WeightsError::Description(error.to_string()))?;
    let (described, found) = (state::expected(&described), state::expected(network));
    let difference = described.iter().zip(&found).find(|(described, found)| described != found);
    match difference {
        Some(((name, shape), (_, found))) if found != shape => Err(WeightsError::Description(
            format!("{name} would be {shape:?}, but the network has {found:?} there"),
        )),
        Some(((name, _), (found, _))) => Err(WeightsError::Description(format!(
            "it calls for {name} where the network has {found}"
        ))),
        None if described.len() != found.len() => Err(WeightsError::Description(format!(
            "it calls for {} tensors, but the network has {}",
            described.len(),
            found.len()
        ))),
        None => Ok(()),
    }
}

/// Reads a file of [`save`] and builds the network on `device`.
///
/// # Errors
/// [`WeightsError`] if the file cannot be read, is damaged, or its tensors do not fit its own
/// description.
pub fn load(path: &Path, device: &Device) -> Result<(Network, Metadata), WeightsError> {
    let (state, texts) = file::read(path)?;
    let unusable = |problem| WeightsError::Unusable { path: path.to_owned(), problem };
    let metadata = Metadata::from_texts(&texts).map_err(unusable)?;
    // Before layers of that size are made: a file may claim any.
    let numbers: usize = state.values().map(|tensor| tensor.values.len()).sum();
    if metadata.config.head_numbers() > numbers as u128 {
        return Err(unusable(WeightsProblem::Metadata(format!(
            "it calls for a head of {} numbers, and the file has {numbers} in all",
            metadata.config.head_numbers()
        ))));
    }
    let network =
        Network::empty(&metadata.config, device).map_err(|error| unusable(error.into()))?;
    state::check(&network, &state, |_| false).map_err(unusable)?;
    let mut expected: std::collections::BTreeSet<String> =
        state::expected(&network).into_iter().map(|(name, _)| name).collect();
    if let Some(name) = state.keys().find(|name| !expected.remove(*name)) {
        return Err(unusable(WeightsProblem::Unexpected { name: name.clone() }));
    }
    Ok((state::apply(network, &state), metadata))
}

/// Reads only the description of a file of [`save`].
///
/// # Errors
/// [`WeightsError`] if the file cannot be read or describes no network.
pub fn load_metadata(path: &Path) -> Result<Metadata, WeightsError> {
    let (_, texts) = file::read(path)?;
    Metadata::from_texts(&texts)
        .map_err(|problem| WeightsError::Unusable { path: path.to_owned(), problem })
}
