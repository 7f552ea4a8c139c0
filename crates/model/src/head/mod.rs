//! What stands on the backbone: a classifier's head, or a detector's.

mod classifier;
mod detector;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

pub use classifier::{ClassifierHead, ClassifierOutput, OutputSizes};
pub use detector::{DetectorHead, DetectorOutput};

use crate::config::{HeadConfig, ModelConfig};

/// The head of a network.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a network has one head")]
pub enum Head {
    /// One class and one box.
    Classifier(ClassifierHead),
    /// Any number of objects.
    Detector(DetectorHead),
}

/// What a network says about a batch.
#[derive(Debug, Clone)]
pub enum Output {
    /// One class and one box an image.
    Classifier(ClassifierOutput),
    /// A score a class and a box, in many places of an image.
    Detector(DetectorOutput),
}

impl Output {
    /// What a classifier says; `None` of a detector.
    pub fn classifier(self) -> Option<ClassifierOutput> {
        match self {
            Output::Classifier(output) => Some(output),
            Output::Detector(_) => None,
        }
    }

    /// What a detector says; `None` of a classifier.
    pub fn detector(self) -> Option<DetectorOutput> {
        match self {
            Output::Classifier(_) => None,
            Output::Detector(output) => Some(output),
        }
    }
}

impl Head {
    /// Builds the layers on `device`; the weights are arbitrary until they are set.
    pub(crate) fn new(config: &ModelConfig, device: &Device) -> Self {
        let shape = config.backbone();
        match &config.head {
            HeadConfig::Classifier { widths, dropout } => Head::Classifier(ClassifierHead::new(
                shape.features(config.input_px),
                widths,
                *dropout,
                config.classes,
                device,
            )),
            HeadConfig::Detector { channels } => Head::Detector(DetectorHead::new(
                &shape.pyramid_channels(),
                *channels,
                config.classes,
                device,
            )),
        }
    }

    /// What a classifier says of feature vectors `[N, F]`; `None` of a detector, which needs maps.
    pub fn of_features(&self, features: Tensor<2>) -> Option<ClassifierOutput> {
        match self {
            Head::Classifier(head) => Some(head.forward(features)),
            Head::Detector(_) => None,
        }
    }

    /// How many classes and cells a classifier's outputs have for feature vectors of this length;
    /// `None` of a detector.
    pub fn output_sizes(&self, length: usize) -> Option<OutputSizes> {
        match self {
            Head::Classifier(head) => Some(head.output_sizes(length)),
            Head::Detector(_) => None,
        }
    }

    /// What the penalty of the loss is on: see [`ClassifierHead::l2_penalty`].
    pub fn l2_penalty(&self) -> Option<Tensor<1>> {
        match self {
            Head::Classifier(head) => head.l2_penalty(),
            Head::Detector(_) => None,
        }
    }
}
