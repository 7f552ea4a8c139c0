//! What a weight file says about its network, so that no other file is needed to use it.

use ossify_vocabulary::{Task, UnknownWord};

use crate::config::{HeadConfig, ModelConfig};
use crate::tensors::error::WeightsProblem;
use crate::weights::file::Texts;

/// The description that travels inside `model.safetensors`.
///
/// In the file it is text: `architecture`, `classes` (JSON), `class_names` (JSON, in the order of
/// the logits), of a classifier `head_widths` (JSON) and `dropout`, of a detector `task` and
/// `pyramid_channels`, `input_shape` (`[3, S, S]`), `normalization` with
/// `normalization_mean` and `normalization_std` (JSON), `box_convention`, `format_version`.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    /// The network.
    pub config: ModelConfig,
    /// Names of the classes, in the order of the logits.
    pub class_names: Vec<String>,
}

/// Of a classifier's file.
const FORMAT_VERSION: &str = "1";
/// Of a detector's, which programs that know no detector refuse by it.
const DETECTOR_FORMAT_VERSION: &str = "2";
const BOX_CONVENTION: &str =
    "xmin, ymin, xmax, ymax as shares of the input tensor's width and height";

impl Metadata {
    pub(crate) fn validate(&self) -> Result<(), WeightsProblem> {
        self.config.validate()?;
        if self.class_names.len() == self.config.classes {
            Ok(())
        } else {
            Err(WeightsProblem::Metadata(format!(
                "{} class names for {} classes",
                self.class_names.len(),
                self.config.classes
            )))
        }
    }

    pub(crate) fn to_texts(&self) -> Texts {
        let Self { config, class_names } = self;
        let json = |value: serde_json::Value| value.to_string();
        let (version, of_head) = match &config.head {
            HeadConfig::Classifier { widths, dropout } => (
                FORMAT_VERSION,
                [("head_widths", json(widths.as_slice().into())), ("dropout", dropout.to_string())],
            ),
            HeadConfig::Detector { channels } => (
                DETECTOR_FORMAT_VERSION,
                [("task", Task::Detect.to_string()), ("pyramid_channels", channels.to_string())],
            ),
        };
        let pairs = [
            ("format", "pt".to_owned()),
            ("format_version", version.to_owned()),
            ("architecture", config.architecture.to_string()),
            ("classes", config.classes.to_string()),
            ("class_names", json(class_names.as_slice().into())),
            ("input_shape", json(vec![3, config.input_px, config.input_px].into())),
            ("normalization", config.normalization.to_string()),
            ("normalization_mean", format!("{:?}", config.normalization.mean())),
            ("normalization_std", format!("{:?}", config.normalization.standard_deviation())),
            ("box_convention", BOX_CONVENTION.to_owned()),
        ];
        pairs.into_iter().chain(of_head).map(|(key, value)| (key.to_owned(), value)).collect()
    }

    pub(crate) fn from_texts(texts: &Texts) -> Result<Self, WeightsProblem> {
        let head = match text(texts, "format_version")? {
            FORMAT_VERSION => HeadConfig::Classifier {
                widths: json(texts, "head_widths")?,
                dropout: json(texts, "dropout")?,
            },
            DETECTOR_FORMAT_VERSION => match word::<Task>(texts, "task")? {
                Task::Detect => HeadConfig::Detector { channels: json(texts, "pyramid_channels")? },
                Task::Classify => {
                    return Err(WeightsProblem::Metadata(format!(
                        "`task` is `{}` in a file of format version {DETECTOR_FORMAT_VERSION}, \
                         which is for detectors",
                        Task::Classify
                    )));
                }
            },
            version => {
                return Err(WeightsProblem::Metadata(format!(
                    "its format version is `{version}`; this program reads versions \
                     {FORMAT_VERSION} and {DETECTOR_FORMAT_VERSION}"
                )));
            }
        };
        let input_shape: Vec<usize> = json(texts, "input_shape")?;
        let [3, height, width] = input_shape[..] else {
            return Err(WeightsProblem::Metadata(format!(
                "input_shape is {input_shape:?}; it must be [3, side, side]"
            )));
        };
        if height != width {
            return Err(WeightsProblem::Metadata(format!(
                "input_shape is {input_shape:?}; only square input is known"
            )));
        }
        let metadata = Self {
            config: ModelConfig {
                architecture: word(texts, "architecture")?,
                classes: json(texts, "classes")?,
                head,
                input_px: height,
                normalization: word(texts, "normalization")?,
            },
            class_names: json(texts, "class_names")?,
        };
        metadata.validate()?;
        Ok(metadata)
    }
}

fn text<'a>(texts: &'a Texts, key: &str) -> Result<&'a str, WeightsProblem> {
    texts.get(key).map(String::as_str).ok_or_else(|| {
        WeightsProblem::Metadata(format!("`{key}` is missing; was it saved by this program?"))
    })
}

fn word<T: std::str::FromStr<Err = UnknownWord>>(
    texts: &Texts,
    key: &str,
) -> Result<T, WeightsProblem> {
    text(texts, key)?
        .parse()
        .map_err(|error| WeightsProblem::Metadata(format!("`{key}` is wrong: {error}")))
}

fn json<T: serde::de::DeserializeOwned>(texts: &Texts, key: &str) -> Result<T, WeightsProblem> {
    let value = text(texts, key)?;
    serde_json::from_str(value)
        .map_err(|error| WeightsProblem::Metadata(format!("`{key}` is `{value}`: {error}")))
}
