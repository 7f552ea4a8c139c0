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
                    "cuda:{index} was asked for, but libtorch sees {available} CUDA device(s), \
                        numbered from 0"
                )
            }
        }
    }
}

impl std::error::Error for RuntimeError {}

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
