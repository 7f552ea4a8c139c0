use crate::runtime::types::{LibTorchInfo, Numerics, RuntimeError};

pub fn libtorch() -> Option<LibTorchInfo> {
    let cuda_devices = if tch::Cuda::is_available() {
        usize::try_from(tch::Cuda::device_count()).unwrap_or(0)
    } else {
        0
    };
    Some(LibTorchInfo {
        version: env!("OSSIFY_LIBTORCH_VERSION"),
        cuda_devices,
        cudnn: cuda_devices > 0 && tch::Cuda::cudnn_is_available(),
    })
}

pub fn threads() -> Option<usize> {
    usize::try_from(tch::get_num_threads()).ok()
}

pub fn set_threads(count: usize) {
    tch::set_num_threads(i32::try_from(count).unwrap_or(i32::MAX));
}

pub fn manual_seed(seed: u64) {
    tch::manual_seed(seed.cast_signed());
}

pub fn set_numerics(numerics: Numerics) -> Result<(), RuntimeError> {
    crate::shim::set_numerics(numerics.tf32, numerics.deterministic)
        .map_err(|error| RuntimeError::Refused(error.to_string()))
}

#[cfg(target_env = "gnu")]
pub fn keep_freed_memory() -> bool {
    const GIBIBYTE: libc::c_int = 1 << 30;
    // SAFETY: mallopt only sets two numbers of the allocator; glibc allows it at any time and
    // from any thread.
    let is_set = unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, GIBIBYTE) == 1
            && libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX) == 1
    };
    is_set && crate::shim::take_plain_memory().is_ok()
}

#[cfg(not(target_env = "gnu"))]
pub fn keep_freed_memory() -> bool {
    false
}
