use crate::runtime::types::{LibTorchInfo, Numerics, RuntimeError};

pub fn libtorch() -> Option<LibTorchInfo> {
    None
}

pub fn threads() -> Option<usize> {
    None
}

pub fn set_threads(_count: usize) {}

pub fn manual_seed(_seed: u64) {}

pub fn set_numerics(_numerics: Numerics) -> Result<(), RuntimeError> {
    Ok(())
}

pub fn keep_freed_memory() -> bool {
    false
}
