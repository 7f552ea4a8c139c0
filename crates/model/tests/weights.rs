//! Weights out and in: names, round trips, foreign files, wrong files.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::{Path, PathBuf};

use burn::module::Module;
use common::{config, devices, flex, head, metadata, pixels, said, values};
use ossify_model::weights::{self, WeightsError};
use ossify_model::{ModelConfig, Network, pixels as input};
use ossify_vocabulary::Architecture;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use tempfile::TempDir;

/// The keys of `torchvision.models.densenet121().features.state_dict()`, by torchvision's rule.
fn torchvision_names(block_layers: &[usize]) -> BTreeSet<String> {
    let norm = |name: &str| {
        ["weight", "bias", "running_mean", "running_var"]
            .map(|part| format!("features.{name}.{part}"))
    };
    let mut names = BTreeSet::from(["features.conv0.weight".to_owned()]);
    names.extend(norm("norm0"));
    for (block, &layers) in block_layers.iter().enumerate() {
        for layer in 1..=layers {
            let layer = format!("denseblock{}.denselayer{layer}", block + 1);
            names.extend([
                format!("features.{layer}.conv1.weight"),
                format!("features.{layer}.conv2.weight"),
            ]);
            names.extend(norm(&format!("{layer}.norm1")));
            names.extend(norm(&format!("{layer}.norm2")));
        }
        if block + 1 < block_layers.len() {
            names.insert(format!("features.transition{}.conv.weight", block + 1));
            names.extend(norm(&format!("transition{}.norm", block + 1)));
        }
    }
    names.extend(norm("norm5"));
    names
}

fn saved(folder: &TempDir, config: &ModelConfig, seed: u64) -> (Network, PathBuf) {
    let classifier = Network::new(config, seed, &flex()).unwrap();
    let path = folder.path().join(format!("{}-{seed}.safetensors", config.architecture));
    weights::save(&path, &classifier, &metadata(config)).unwrap();
    (classifier, path)
}

/// Rewrites a file with other names, or without some tensors.
fn rewritten(path: &Path, name: &str, rename: impl Fn(&str) -> Option<String>) -> PathBuf {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors: BTreeMap<String, TensorView<'_>> =
        file.iter().filter_map(|(name, view)| Some((rename(name)?, view))).collect();
    let target = path.with_file_name(name);
    std::fs::write(&target, safetensors::serialize(&tensors, None).unwrap()).unwrap();
    target
}

fn refusal(result: Result<impl Sized, WeightsError>) -> String {
    let Err(error) = result else { panic!("the file was taken") };
    assert!(matches!(error, WeightsError::Unusable { .. }), "{error:?}");
    assert!(error.to_string().ends_with("do not fit"), "{error}");
    error.source().unwrap().to_string()
}

fn features(classifier: &Network) -> Vec<f32> {
    let (bytes, shape) = pixels(1, 64);
    let device = classifier.devices().remove(0);
    values(
        classifier.backbone.forward(
            input::to_input(bytes, shape, &device, ossify_vocabulary::Normalization::ImageNet, 64)
                .unwrap(),
        ),
    )
}

#[test]
fn the_backbone_of_densenet121_is_saved_under_exactly_the_names_of_torchvision() {
    let folder = tempfile::tempdir().unwrap();
    let (_, path) = saved(&folder, &config(Architecture::DenseNet121), 1);
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (backbone, head): (BTreeSet<String>, BTreeSet<String>) =
        file.names().into_iter().map(str::to_owned).partition(|name| name.starts_with("features."));
    assert_eq!(backbone, torchvision_names(&[6, 12, 24, 16]));
    assert_eq!(backbone.len(), 604);
    assert!(head.iter().all(|name| name.starts_with("head.")), "{head:?}");
    assert_eq!(file.tensor("features.conv0.weight").unwrap().shape(), [64, 3, 7, 7]);
    assert_eq!(file.tensor("head.stages.0.dense.weight").unwrap().shape(), [32, 1024]);
    assert_eq!(file.tensor("head.classes.weight").unwrap().shape(), [6, 16]);
}

#[test]
fn a_saved_network_is_the_same_network_on_every_device() {
    let folder = tempfile::tempdir().unwrap();
    for architecture in [Architecture::DenseNet121, Architecture::DenseNetCompact] {
        let config = config(architecture);
        for device in devices() {
            // One step in training fills the statistics.
            let training = device.clone().autodiff();
            let classifier = Network::new(&config, 5, &device).unwrap().train();
            let (bytes, shape) = pixels(2, 64);
            said(
                &classifier,
                input::to_input(bytes.clone(), shape, &training, config.normalization, 64).unwrap(),
            );
            let path = folder.path().join("trained.safetensors");
            weights::save(&path, &classifier, &metadata(&config)).unwrap();

            let (loaded, description) = weights::load(&path, &device).unwrap();
            assert_eq!(description, metadata(&config));
            assert_eq!(weights::load_metadata(&path).unwrap(), description);
            let run = |classifier: &Network| {
                let output = said(
                    classifier,
                    input::to_input(bytes.clone(), shape, &device, config.normalization, 64)
                        .unwrap(),
                );
                (values(output.logits.clone()), values(output.boxes()))
            };
            assert_eq!(run(&classifier.valid()), run(&loaded));
        }
    }
}

#[test]
fn a_loaded_network_can_be_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(Architecture::DenseNetCompact);
    let (_, path) = saved(&folder, &config, 1);
    for device in devices() {
        let (loaded, _) = weights::load(&path, &device).unwrap();
        let classifier = loaded.train();
        let training = device.clone().autodiff();
        let (bytes, shape) = pixels(2, 64);
        let batch = input::to_input(bytes, shape, &training, config.normalization, 64).unwrap();
        let output = said(&classifier, batch.clone());
        let gradients = (output.logits.clone().mean() + output.boxes().mean()).backward();
        let found = burn::optim::GradientsParams::from_grads(gradients, &classifier);
        let fresh = Network::new(&config, 1, &device).unwrap().train();
        let output = said(&fresh, batch);
        let gradients = (output.logits.clone().mean() + output.boxes().mean()).backward();
        assert_eq!(found.len(), burn::optim::GradientsParams::from_grads(gradients, &fresh).len());
    }
}

#[test]
fn parameters_have_the_same_identity_in_every_process() {
    let config = config(Architecture::DenseNetCompact);
    struct Ids(Vec<u64>);
    impl burn::module::ModuleVisitor for Ids {
        fn visit_float<const D: usize>(
            &mut self,
            param: &burn::module::Param<burn::tensor::Tensor<D>>,
        ) {
            if param.is_require_grad() {
                self.0.push(param.id.val());
            }
        }
    }
    let ids = |classifier: Network| {
        let mut ids = Ids(Vec::new());
        classifier.visit(&mut ids);
        ids.0
    };
    let training = flex().autodiff();
    let first = ids(Network::new(&config, 1, &training).unwrap());
    assert!(!first.is_empty());
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), first.len());
    assert_eq!(first, ids(Network::new(&config, 2, &training).unwrap()));
    let folder = tempfile::tempdir().unwrap();
    let (_, path) = saved(&folder, &config, 1);
    assert_eq!(first, ids(weights::load(&path, &training).unwrap().0));
    assert_eq!(first, ids(weights::load(&path, &flex()).unwrap().0.train()));
}

#[test]
fn the_same_network_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(Architecture::DenseNetCompact);
    let (classifier, path) = saved(&folder, &config, 1);
    let again = folder.path().join("again.safetensors");
    weights::save(&again, &classifier, &metadata(&config)).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), std::fs::read(&again).unwrap());
    let (loaded, description) = weights::load(&again, &flex()).unwrap();
    let third = folder.path().join("third.safetensors");
    weights::save(&third, &loaded, &description).unwrap();
    assert_eq!(std::fs::read(again).unwrap(), std::fs::read(third).unwrap());
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        3,
        "nothing half-written is left behind"
    );
}

#[test]
fn the_description_in_the_file_is_readable_text() {
    let folder = tempfile::tempdir().unwrap();
    let (_, path) = saved(&folder, &config(Architecture::DenseNetCompact), 1);
    let bytes = std::fs::read(path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let texts: BTreeMap<String, String> = header.metadata().clone().unwrap().into_iter().collect();
    assert_eq!(texts["architecture"], "densenet-compact");
    assert_eq!(texts["input_shape"], "[3,64,64]");
    assert_eq!(texts["normalization"], "imagenet");
    assert_eq!(texts["normalization_mean"], "[0.485, 0.456, 0.406]");
    assert_eq!(
        texts["class_names"],
        r#"["class 0","class 1","class 2","class 3","class 4","class 5"]"#
    );
    assert_eq!(
        texts["box_convention"],
        "xmin, ymin, xmax, ymax as shares of the input tensor's width and height"
    );
    assert_eq!(texts["head_widths"], "[32,16]");
}

#[test]
fn a_file_that_claims_a_larger_head_than_it_holds_is_refused_before_one_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let (_, path) = saved(&folder, &config(Architecture::DenseNetCompact), 1);
    let bytes = std::fs::read(&path).unwrap();
    for claimed in ["[99999999999]", "[18446744073709551615,18446744073709551615]"] {
        let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
        let header = std::str::from_utf8(&bytes[8..8 + length]).unwrap();
        let header = header.replace("[32,16]", claimed);
        let length = u64::try_from(header.len()).unwrap().to_le_bytes();
        let changed = [&length, header.as_bytes(), &bytes[bytes.len() - data_bytes(&bytes)..]];
        std::fs::write(&path, changed.concat()).unwrap();
        let refused = refusal(weights::load(&path, &flex()));
        assert!(
            refused
                .starts_with("its description of the network is unusable: it calls for a head of "),
            "{refused}"
        );
    }
}

/// Bytes behind the header of a safetensors file.
fn data_bytes(file: &[u8]) -> usize {
    file.len() - 8 - usize::try_from(u64::from_le_bytes(file[..8].try_into().unwrap())).unwrap()
}

#[test]
fn torchvision_files_load_under_new_and_old_names_and_any_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(Architecture::DenseNet121);
    let (classifier, path) = saved(&folder, &config, 9);
    let expected = features(&classifier);
    let backbone = |name: &str| name.starts_with("features.").then(|| name.to_owned());
    let old = |name: &str| {
        let name = backbone(name)?;
        Some(if name.contains("denselayer") {
            name.replace("norm", "norm.").replace("conv", "conv.")
        } else {
            name
        })
    };
    let variants = [
        rewritten(&path, "new", backbone),
        rewritten(&path, "old", old),
        rewritten(&path, "wrapped", |name| Some(format!("module.{}", backbone(name)?))),
        rewritten(&path, "features-alone", |name| Some(name.strip_prefix("features.")?.to_owned())),
    ];
    for variant in variants {
        let mut other = Network::new(&config, 1, &flex()).unwrap();
        assert_ne!(features(&other), expected);
        let report = weights::load_torchvision(&variant, &mut other.backbone).unwrap();
        assert_eq!(
            (report.loaded.len(), report.missing.len(), report.unused.len()),
            (604, 0, 0),
            "{}",
            variant.display()
        );
        assert_eq!(features(&other), expected, "{}", variant.display());
    }
}

#[test]
fn what_is_left_over_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(Architecture::DenseNetCompact);
    let (_, path) = saved(&folder, &config, 9);
    let file = rewritten(&path, "classified", |name| {
        if name.starts_with("places.conv") {
            return None;
        }
        Some(name.replace("head.classes", "classifier").replace("head.", "module."))
    });
    let mut other = Network::new(&config, 1, &flex()).unwrap();
    let report = weights::load_torchvision(&file, &mut other.backbone).unwrap();
    assert_eq!(
        report.missing,
        ["places.conv_fine.weight", "places.conv_coarse.weight", "places.conv1.weight"]
    );
    assert!(report.unused.contains(&"classifier.weight".to_owned()), "{:?}", report.unused);
    assert_eq!(report.loaded[0], "features.conv0.weight");
}

#[test]
fn a_wrong_file_is_refused_with_its_first_mismatch_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config121 = config(Architecture::DenseNet121);
    let (_, compact) = saved(&folder, &config(Architecture::DenseNetCompact), 1);
    let (classifier, path) = saved(&folder, &config121, 2);
    let mut victim = Network::new(&config121, 3, &flex()).unwrap();
    let before = features(&victim);

    let shape = refusal(weights::load_torchvision(&compact, &mut victim.backbone));
    assert!(
        shape.starts_with(
            "tensor features.conv0.weight is [24, 3, 7, 7] in the file, but the \
        network needs [64, 3, 7, 7]"
        ),
        "{shape}"
    );
    let without = rewritten(&path, "without", |name| {
        (name != "features.norm0.bias").then(|| name.to_owned())
    });
    let missing = refusal(weights::load_torchvision(&without, &mut victim.backbone));
    assert_eq!(
        missing,
        "it holds no tensor features.norm0.bias; it begins with features.conv0.weight"
    );
    let more =
        rewritten(&path, "more", |name| Some(name.replace("head.boxes.", "features.norm6.")));
    let unexpected = refusal(weights::load_torchvision(&more, &mut victim.backbone));
    assert!(
        unexpected.starts_with(
            "it holds the backbone tensor features.norm6.bias, which the network lacks"
        ),
        "{unexpected}"
    );
    assert_eq!(features(&victim), before);

    // Not saved by this program: no description.
    let foreign = rewritten(&path, "foreign", |name| Some(name.to_owned()));
    assert_eq!(
        refusal(weights::load(&foreign, &flex())),
        "its description of the network is unusable: `format_version` is missing; was it saved by \
            this program?"
    );

    // A network with a value that is NaN.
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let not_finite = refusal(weights::load(&path, &flex()));
    assert!(not_finite.ends_with("holds the value NaN"), "{not_finite}");
    drop(classifier);
}

#[test]
fn damaged_files_are_refused_and_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(Architecture::DenseNetCompact);
    let (mut classifier, path) = saved(&folder, &config, 1);
    let whole = std::fs::read(&path).unwrap();
    let damaged = folder.path().join("damaged");
    let mut cases: Vec<Vec<u8>> =
        vec![vec![], b"<html>not found</html>".to_vec(), vec![0; 100], vec![0xff; 4096]];
    cases.extend(
        [1, 7, 8, 9, 100, whole.len() / 2, whole.len() - 1].map(|length| whole[..length].to_vec()),
    );
    cases.push(b"PK\x03\x04 a zip that is none".to_vec());
    let mut longer = whole.clone();
    longer.extend([0; 16]);
    cases.push(longer);
    for (index, case) in cases.iter().enumerate() {
        std::fs::write(&damaged, case).unwrap();
        refusal(weights::load(&damaged, &flex()).inspect_err(|error| {
            let problem = error.source().unwrap().to_string();
            let words = "it is not a PyTorch or safetensors file, or it is damaged";
            assert_eq!(problem, words, "case {index}");
        }));
        refusal(weights::load_torchvision(&damaged, &mut classifier.backbone));
    }
    let missing = weights::load(&folder.path().join("nothing-here"), &flex()).unwrap_err();
    assert!(matches!(missing, WeightsError::Read { .. }));
    assert!(missing.to_string().contains("nothing-here"), "{missing}");
}

#[test]
fn a_description_that_contradicts_the_network_is_not_saved() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(Architecture::DenseNetCompact);
    let classifier = Network::new(&config, 1, &flex()).unwrap();
    let mut description = metadata(&config);
    description.class_names.pop();
    let path = folder.path().join("model.safetensors");
    let error = weights::save(&path, &classifier, &description).unwrap_err().to_string();
    assert!(error.contains("5 class names for 6 classes"), "{error}");
    let other = ModelConfig { head: head(&[8], 0.5), ..config };
    let error = weights::save(&path, &classifier, &metadata(&other)).unwrap_err().to_string();
    assert!(error.contains("head.stages.0.dense.weight would be [8,"), "{error}");
    assert!(!path.exists());
    let description = metadata(&common::config(Architecture::DenseNetCompact));
    let nowhere = weights::save(
        &folder.path().join("no/folder/model.safetensors"),
        &classifier,
        &description,
    );
    assert!(matches!(nowhere.unwrap_err(), WeightsError::Write { .. }));
}
