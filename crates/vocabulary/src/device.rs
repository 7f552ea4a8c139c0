use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::words;

words! {
    /// In what numbers the convolutional part of a network is computed. Weights, statistics, head
    /// and loss are float32 in any case.
    #[derive(Default)]
    Precision {
        /// float32 throughout.
        #[default]
        Float32 = "float32",
        /// float32, of which products take 10 bits: NVIDIA's TF32.
        Tf32 = "tf32",
        /// bfloat16 maps, summed up in float32.
        Bfloat16 = "bf16",
    }
}

/// A request for a device that computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum DeviceChoice {
    /// The first CUDA device if there is one, else libtorch on the processor, else Flex.
    Auto,
    /// The processor through libtorch.
    Cpu,
    /// The CUDA device with this index, through libtorch.
    Cuda(usize),
    /// The processor through Burn's own backend in Rust.
    Flex,
}

/// A text that names no kind of device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no device `{0}`; write auto, cpu, cuda:N (N from 0) or flex")]
pub struct UnknownDevice(pub String);

impl FromStr for DeviceChoice {
    type Err = UnknownDevice;

    fn from_str(text: &str) -> Result<Self, UnknownDevice> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "flex" => Ok(Self::Flex),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| UnknownDevice(text.to_owned())),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => write!(out, "auto"),
            Self::Cpu => write!(out, "cpu"),
            Self::Cuda(index) => write!(out, "cuda:{index}"),
            Self::Flex => write!(out, "flex"),
        }
    }
}

impl From<DeviceChoice> for String {
    fn from(device: DeviceChoice) -> Self {
        device.to_string()
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = UnknownDevice;

    fn try_from(text: String) -> Result<Self, UnknownDevice> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_device_is_read_as_it_is_written() {
        for text in ["auto", "cpu", "cuda:0", "cuda:17", "flex"] {
            let device: DeviceChoice = text.parse().unwrap();
            assert_eq!(device.to_string(), text);
            let json = serde_json::to_string(&device).unwrap();
            assert_eq!(serde_json::from_str::<DeviceChoice>(&json).unwrap(), device);
        }
        for text in ["", "gpu", "cuda", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            assert_eq!(text.parse::<DeviceChoice>(), Err(UnknownDevice(text.to_owned())));
        }
        assert!(serde_json::from_str::<DeviceChoice>("\"gpu\"").is_err());
    }
}
