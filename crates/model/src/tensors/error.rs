use std::path::PathBuf;

use crate::config::ConfigError;

/// Weights that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be opened or read.
    #[error("cannot read the weights {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the weights {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file was read but does not fit.
    #[error("the weights {} do not fit", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The first thing that does not fit.
        #[source]
        problem: WeightsProblem,
    },
    /// The network and the description to be saved with it contradict each other.
    #[error("the description does not fit the network: {0}")]
    Description(String),
    /// The device failed while handing out values.
    #[error("the device did not hand out its values: {0}")]
    Device(String),
}

/// The first thing in a weight file that does not fit the network.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WeightsProblem {
    /// The bytes are not a weight file, or a damaged one.
    #[error("it is not a PyTorch or safetensors file, or it is damaged")]
    Format,
    /// A tensor's bytes are not what its shape and type say.
    #[error("the values of tensor {name} cannot be read; the file is damaged")]
    Values {
        /// The tensor.
        name: String,
    },
    /// A tensor of the network is not in the file.
    #[error(
        "it holds no tensor {name}{first}",
        first = present
            .as_ref()
            .map(|first| format!("; it begins with {first}"))
            .unwrap_or_default()
    )]
    Missing {
        /// The tensor.
        name: String,
        /// The first tensor, by name, that the file does hold.
        present: Option<String>,
    },
    /// A tensor has another shape.
    #[error(
        "tensor {name} is {found:?} in the file, but the network needs {needed:?}; is it a file \
            of another architecture or class count?"
    )]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape in the file.
        found: Vec<usize>,
        /// The shape that the network has, in PyTorch's order.
        needed: Vec<usize>,
    },
    /// The file holds layers that the network lacks.
    #[error(
        "it holds the backbone tensor {name}, which the network lacks; is it a file of another \
            architecture?"
    )]
    Unexpected {
        /// The tensor.
        name: String,
    },
    /// A value is NaN or infinite.
    #[error("tensor {name} holds the value {value}")]
    NotFinite {
        /// The tensor.
        name: String,
        /// The value.
        value: f32,
    },
    /// The text that describes the network is missing or wrong.
    #[error("its description of the network is unusable: {0}")]
    Metadata(String),
    /// The description names a network that cannot be built.
    #[error("its description names no valid network: {0}")]
    Config(#[from] ConfigError),
}
