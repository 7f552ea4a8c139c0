//! The C++ functions of this folder, each behind a safe one.

mod call;
mod convolution;
mod dense_block;
mod norm_relu;
mod optimiser;
mod process;
#[cfg(test)]
mod tests;

pub(crate) use call::KernelError;
pub(crate) use convolution::convolution_backward;
pub(crate) use dense_block::{
    BlockShape, dense_block, dense_block_backward, dense_block_inference,
};
pub(crate) use norm_relu::{norm_relu, norm_relu_backward, norm_relu_inference};
pub(crate) use optimiser::{follow, optimiser_step};
pub(crate) use process::{set_numerics, take_plain_memory};
