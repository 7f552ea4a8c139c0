//! DenseNets that classify or detect, as Burn modules; pixels in, weights in and out.
//!
//! ```text
//! u8 pixels [N, H, W, C] --pixels--> input [N, 3, S, S] --Backbone-->
//!     features [N, F]       --ClassifierHead--> logits [N, classes],    boxes [N, 4]
//!     maps [N, C, h, w] ... --DetectorHead-->   logits [N, P, classes], boxes [N, P, 4]
//! ```
//!
//! A [`Device`](burn::tensor::Device) chooses at run time where all this happens: see
//! [`device::choose`]. Dropout and batch statistics are active exactly on devices with automatic
//! differentiation ([`device::ComputeDevice::training`]); a module moves between the two worlds
//! with Burn's `Module::train` and `Module::valid`.

#![warn(missing_docs)]
#![warn(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]
#![cfg_attr(
    test,
    allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)
)]

mod config;
mod constant;
mod densenet;
pub mod device;
mod guard;
mod head;
mod initial;
mod layers;
mod module_path;
mod network;
pub mod pixels;
pub mod summary;
mod tensors;
pub mod weights;

pub use config::{BackboneShape, ConfigError, FeatureLayout, HeadConfig, ModelConfig, Pooling};
pub use densenet::Backbone;
pub use guard::{DeviceFailure, on_device};
pub use head::{
    ClassifierHead, ClassifierOutput, DetectorHead, DetectorOutput, Head, Output, OutputSizes,
};
pub use module_path::ModulePath;
pub use network::{Begun, Network};
pub use tensors::state::ParameterCounts;
