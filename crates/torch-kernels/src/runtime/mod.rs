//! What the whole process shares: the libtorch version, its threads, its random seed, its memory
//! and its CUDA devices.

#[cfg(not(feature = "libtorch"))]
mod absent;
#[cfg(feature = "libtorch")]
mod libtorch;
mod types;

#[cfg(not(feature = "libtorch"))]
use absent as backend;
#[cfg(feature = "libtorch")]
use libtorch as backend;
pub use types::{LibTorchInfo, Numerics, RuntimeError};

/// What libtorch is there, or `None` if the program was built without.
pub fn libtorch() -> Option<LibTorchInfo> {
    backend::libtorch()
}

/// Checks that CUDA device `index` can be used, so that a request for it never falls back to the
/// processor in silence.
///
/// # Errors
/// [`RuntimeError`] if there is no libtorch or no such device.
pub fn require_cuda(index: usize) -> Result<(), RuntimeError> {
    let info = libtorch().ok_or(RuntimeError::NoLibTorch)?;
    if index < info.cuda_devices {
        Ok(())
    } else {
        Err(RuntimeError::NoSuchCudaDevice { index, available: info.cuda_devices })
    }
}

/// The product name of CUDA device `index` (`NVIDIA H200`), as the driver lists it.
///
/// `None` without a driver. The driver numbers devices by bus; `CUDA_VISIBLE_DEVICES` can renumber
/// them for libtorch, and then no name is given rather than a wrong one.
pub fn cuda_device_name(index: usize) -> Option<String> {
    if std::env::var_os("CUDA_VISIBLE_DEVICES").is_some() {
        return None;
    }
    let mut folders: Vec<_> = std::fs::read_dir("/proc/driver/nvidia/gpus")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    folders.sort();
    let information = std::fs::read_to_string(folders.get(index)?.join("information")).ok()?;
    let model = information.lines().find_map(|line| line.strip_prefix("Model:"))?;
    Some(model.trim().to_owned())
}

/// Number of threads that one libtorch operation uses; `None` without libtorch.
pub fn threads() -> Option<usize> {
    backend::threads()
}

/// Sets the number of threads of one libtorch operation. Without libtorch, or with 0, it does
/// nothing.
pub fn set_threads(count: usize) {
    if count > 0 {
        backend::set_threads(count);
    }
}

/// Seeds libtorch's generators on the processor and on every CUDA device.
pub fn manual_seed(seed: u64) {
    backend::manual_seed(seed);
}

/// Sets how CUDA devices compute, for the whole process.
///
/// # Errors
/// [`RuntimeError::Refused`] with libtorch's words.
pub fn set_numerics(numerics: Numerics) -> Result<(), RuntimeError> {
    backend::set_numerics(numerics)
}

/// Tells glibc to keep freed memory instead of handing it back to the system after each training
/// step, and libtorch to ask for memory in a way that lets glibc use it again.
///
/// A step allocates and frees hundreds of activations of several megabytes; by default each of them
/// is mapped and unmapped again and its pages are zeroed by the kernel. Call it once, before the
/// first tensor. It does nothing on other C libraries or without libtorch.
///
/// Returns whether the settings were taken.
pub fn keep_freed_memory() -> bool {
    backend::keep_freed_memory()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cuda_device_that_is_not_there_is_refused_with_its_number() {
        let error = require_cuda(4096).unwrap_err();
        match libtorch() {
            None => assert_eq!(error, RuntimeError::NoLibTorch),
            Some(info) => {
                assert_eq!(
                    error,
                    RuntimeError::NoSuchCudaDevice { index: 4096, available: info.cuda_devices }
                );
                assert!(error.to_string().starts_with("cuda:4096 was asked for"));
            }
        }
    }

    #[test]
    fn threads_are_set_and_read_back() {
        set_threads(1);
        assert!(threads().is_none_or(|count| count == 1));
        set_threads(0);
        assert!(threads().is_none_or(|count| count == 1));
    }

    #[cfg(feature = "libtorch")]
    #[test]
    fn the_version_is_read_from_the_library_folder() {
        let version = libtorch().unwrap().version;
        assert!(version.split('.').count() >= 3, "{version}");
    }

    #[cfg(all(feature = "libtorch", target_env = "gnu"))]
    #[test]
    fn the_allocator_takes_its_settings() {
        assert!(keep_freed_memory());
    }
}
