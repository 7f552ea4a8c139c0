//! What a weight file says about its network, so that no other file is needed to use it.

use ossify_vocabulary::UnknownWord;

use crate::config::ModelConfig;
use crate::tensors::error::WeightsProblem;
use crate::weights::file::Texts;

/// The description that travels inside `model.safetensors`.
///
/// In the file it is text: `architecture`, `classes` and `head_widths` (JSON), `class_names` (JSON,
/// in the order of the logits), `dropout`, `input_shape` (`[3, S, S]`), `normalization` with
/// `normalization_mean` and `normalization_std` (JSON), `box_convention`, `format_version`.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    /// The network.
    pub config: ModelConfig,
    /// Names of the classes, in the order of the logits.
    pub class_names: Vec<String>,
}

const FORMAT_VERSION: &str = "1";
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
        let pairs = [
            ("format", "pt".to_owned()),
            ("format_version", FORMAT_VERSION.to_owned()),
            ("architecture", config.architecture.to_string()),
            ("classes", config.classes.to_string()),
            ("class_names", json(class_names.as_slice().into())),
            ("head_widths", json(config.head_widths.as_slice().into())),
            ("dropout", config.dropout.to_string()),
            ("input_shape", json(vec![3, config.input_px, config.input_px].into())),
            ("normalization", config.normalization.to_string()),
            ("normalization_mean", format!("{:?}", config.normalization.mean())),
            ("normalization_std", format!("{:?}", config.normalization.standard_deviation())),
            ("box_convention", BOX_CONVENTION.to_owned()),
        ];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    pub(crate) fn from_texts(texts: &Texts) -> Result<Self, WeightsProblem> {
        let version = text(texts, "format_version")?;
        if version != FORMAT_VERSION {
            return Err(WeightsProblem::Metadata(format!(
                "its format version is `{version}`; this program reads version {FORMAT_VERSION}"
            )));
        }
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
                head_widths: json(texts, "head_widths")?,
                dropout: json(texts, "dropout")?,
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
