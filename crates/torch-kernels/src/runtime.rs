//! What the whole process shares: the libtorch version, its threads, its random seed, its memory
//! and its CUDA devices.

/// Which devices and which version of libtorch the process runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibTorchInfo {
    /// The version of the headers that the program was compiled against, as `2.9.0`.
    pub version: &'static str,
    /// Number of CUDA devices that libtorch can use; 0 for a CPU-only libtorch, a missing driver or
    /// no GPU.
    pub cuda_devices: usize,
    /// Whether cuDNN is at hand.
    pub cudnn: bool,
}

/// A libtorch call that failed, in libtorch's own words, or the absence of libtorch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeError {
    /// The program was built without libtorch.
    NoLibTorch,
    /// There are fewer CUDA devices than the index asks for.
    NoSuchCudaDevice {
        /// The index asked for.
        index: usize,
        /// How many devices libtorch sees.
        available: usize,
    },
    /// libtorch's own words.
    Refused(String),
}

impl std::fmt::Display for RuntimeError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(words) => out.write_str(words),
            Self::NoLibTorch => write!(out, "this program was built without libtorch"),
            Self::NoSuchCudaDevice { index, available: 0 } => {
                write!(out, "cuda:{index} was asked for, but libtorch sees no CUDA device")
            }
            Self::NoSuchCudaDevice { index, available } => {
                write!(
                    out,
                    "cuda:{index} was asked for, but libtorch sees {available} CUDA device(s), numbered from 0"
                )
            }
        }
    }
}

impl std::error::Error for RuntimeError {}

/// What libtorch is there, or `None` if the program was built without.
pub fn libtorch() -> Option<LibTorchInfo> {
    imp::libtorch()
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
    imp::threads()
}

/// Sets the number of threads of one libtorch operation. Without libtorch, or with 0, it does
/// nothing.
pub fn set_threads(count: usize) {
    if count > 0 {
        imp::set_threads(count);
    }
}

/// Seeds libtorch's generators on the processor and on every CUDA device.
pub fn manual_seed(seed: u64) {
    imp::manual_seed(seed);
}

/// How CUDA devices compute; of no effect on processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Numerics {
    /// Whether products of float32 matrices and convolutions may round their factors to TF32's 10
    /// bits: several times faster from Ampere on.
    pub tf32: bool,
    /// Whether only algorithms are taken that give the same bits each time. Otherwise cuDNN times
    /// its algorithms for each new shape and keeps the fastest, and that choice may differ between
    /// runs, and with it the last digits of results.
    pub deterministic: bool,
}

/// Sets how CUDA devices compute, for the whole process.
///
/// # Errors
/// [`RuntimeError::Refused`] with libtorch's words.
pub fn set_numerics(numerics: Numerics) -> Result<(), RuntimeError> {
    imp::set_numerics(numerics)
}

/// Tells glibc to keep freed memory instead of handing it back to the system after each training
/// step, and libtorch to ask for memory in a way that lets glibc use it again.
///
/// A step allocates and frees hundreds of activations of several megabytes; by default each of them
/// is mapped and unmapped anew and its pages are zeroed by the kernel. Call it once, before the
/// first tensor. It does nothing on other C libraries or without libtorch.
///
/// Returns whether the settings were taken.
pub fn keep_freed_memory() -> bool {
    imp::keep_freed_memory()
}

#[cfg(feature = "libtorch")]
mod imp {
    use super::{LibTorchInfo, Numerics, RuntimeError};

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

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
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

    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    pub fn keep_freed_memory() -> bool {
        false
    }
}

#[cfg(not(feature = "libtorch"))]
mod imp {
    use super::{LibTorchInfo, Numerics, RuntimeError};

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

    #[cfg(all(feature = "libtorch", target_os = "linux", target_env = "gnu"))]
    #[test]
    fn the_allocator_takes_its_settings() {
        assert!(keep_freed_memory());
    }
}
