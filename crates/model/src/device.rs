//! Which device computes: CUDA or the processor through libtorch, or Flex, which needs nothing
//! installed.

use burn::tensor::Device;
use ossify_torch_kernels::runtime::{self, Numerics, RuntimeError};
use ossify_vocabulary::{DeviceChoice, Precision};

/// A device that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// A precision that only CUDA devices have.
    #[error(
        "{device} cannot compute in {precision}: only CUDA devices do; set train.precision to \
            \"float32\""
    )]
    NoPrecision {
        /// The device.
        device: String,
        /// What was asked for.
        precision: Precision,
    },
    /// libtorch did not take what the process was set to.
    #[error("libtorch refused its settings")]
    Refused(#[source] RuntimeError),
    /// The request needs libtorch, or a GPU, that is not there.
    #[error(
        "device {request} cannot be used; `auto` takes the best one that is there, `flex` always \
            works"
    )]
    Unavailable {
        /// What was asked for.
        request: DeviceChoice,
        /// Why it cannot be had.
        source: RuntimeError,
    },
}

/// A device that is there.
#[derive(Debug, Clone)]
pub struct ComputeDevice {
    kind: DeviceChoice,
    device: Device,
}

/// Finds the device for a request.
///
/// A request for CUDA that cannot be met fails; it never falls back to the processor.
///
/// # Errors
/// [`DeviceError`] if the device is not there.
pub fn choose(request: DeviceChoice) -> Result<ComputeDevice, DeviceError> {
    let kind = match request {
        DeviceChoice::Auto => match runtime::libtorch() {
            Some(info) if info.cuda_devices > 0 => DeviceChoice::Cuda(0),
            Some(_) => DeviceChoice::Cpu,
            None => DeviceChoice::Flex,
        },
        explicit => explicit,
    };
    let device = open(kind).map_err(|source| DeviceError::Unavailable { request, source })?;
    Ok(ComputeDevice { kind, device })
}

#[cfg(feature = "libtorch")]
#[expect(
    deprecated,
    reason = "0.22.1 is the last Burn with libtorch, which this crate is built on"
)]
fn open(kind: DeviceChoice) -> Result<Device, RuntimeError> {
    match kind {
        DeviceChoice::Flex => Ok(Device::flex()),
        DeviceChoice::Cuda(index) => {
            runtime::require_cuda(index).map(|()| Device::libtorch_cuda(index))
        }
        DeviceChoice::Cpu | DeviceChoice::Auto => Ok(Device::libtorch()),
    }
}

#[cfg(not(feature = "libtorch"))]
fn open(kind: DeviceChoice) -> Result<Device, RuntimeError> {
    match kind {
        DeviceChoice::Flex => Ok(Device::flex()),
        DeviceChoice::Auto | DeviceChoice::Cpu | DeviceChoice::Cuda(_) => {
            Err(RuntimeError::NoLibTorch)
        }
    }
}

impl ComputeDevice {
    /// For inference: no gradients, no dropout, running statistics.
    pub fn inference(&self) -> Device {
        self.device.clone()
    }

    /// For training: the same device with automatic differentiation.
    pub fn training(&self) -> Device {
        self.device.clone().autodiff()
    }

    /// Which kind it is; never [`DeviceChoice::Auto`].
    pub fn kind(&self) -> DeviceChoice {
        self.kind
    }

    /// Name for people and for `environment.json`: the GPU's product name where the driver
    /// gives it, else how the processor is used.
    pub fn name(&self) -> String {
        match self.kind {
            DeviceChoice::Cuda(index) => match runtime::cuda_device_name(index) {
                Some(name) => format!("cuda:{index} ({name})"),
                None => format!("cuda:{index}"),
            },
            DeviceChoice::Flex => "cpu (flex)".to_owned(),
            DeviceChoice::Cpu | DeviceChoice::Auto => "cpu (libtorch)".to_owned(),
        }
    }

    /// The libtorch version if this device goes through libtorch.
    pub fn libtorch_version(&self) -> Option<String> {
        match self.kind {
            DeviceChoice::Flex => None,
            _ => runtime::libtorch().map(|info| info.version.to_owned()),
        }
    }

    /// Prepares the process for work on this device: threads of one operation (0 leaves the
    /// default) and, for libtorch, an allocator that keeps the memory of one step for the next, and
    /// how CUDA devices compute. Call it once at the start.
    ///
    /// # Errors
    /// [`DeviceError`] if the device cannot compute in this precision, or libtorch refuses.
    pub fn prepare(
        &self,
        threads: usize,
        precision: Precision,
        deterministic: bool,
    ) -> Result<(), DeviceError> {
        let is_cuda = matches!(self.kind, DeviceChoice::Cuda(_));
        if precision != Precision::Float32 && !is_cuda {
            return Err(DeviceError::NoPrecision { device: self.name(), precision });
        }
        match self.kind {
            DeviceChoice::Flex => {
                // Flex works in rayon's global pool, whose size is fixed by whoever comes first.
                let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
            }
            _ => {
                runtime::set_threads(threads);
                runtime::keep_freed_memory();
                if is_cuda {
                    let tf32 = precision != Precision::Float32;
                    runtime::set_numerics(Numerics { tf32, deterministic })
                        .map_err(DeviceError::Refused)?;
                }
            }
        }
        Ok(())
    }

    /// Threads that one operation uses.
    pub fn threads(&self) -> usize {
        match self.kind {
            DeviceChoice::Flex => rayon::current_num_threads(),
            _ => runtime::threads().unwrap_or(1),
        }
    }

    /// Seeds what is drawn on the device, dropout above all.
    pub fn seed(&self, seed: u64) {
        self.device.seed(seed);
    }

    /// Waits until everything given to the device is done; for measuring time.
    ///
    /// # Errors
    /// The device's own words if it failed meanwhile.
    pub fn wait(&self) -> Result<(), String> {
        self.device.sync().map_err(|error| error.to_string())
    }
}

/// Restarts the program with `GOMP_SPINCOUNT`, unless the user set it: call it first in `main`.
///
/// GNU OpenMP's threads spin where they wait for work, by default so long that they take the
/// processor from the threads that make batches and move weights. The library reads the variable
/// before `main`, so it cannot be set later. Where the program cannot be restarted, it goes on
/// as it is.
pub fn keep_waiting_threads_short() {
    #[cfg(feature = "libtorch")]
    const SPIN_COUNT: &str = "GOMP_SPINCOUNT";
    #[cfg(feature = "libtorch")]
    if std::env::var_os(SPIN_COUNT).is_none()
        && let Ok(program) = std::env::current_exe()
    {
        use std::os::unix::process::CommandExt as _;
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_else(|| program.clone().into());
        ossify_process::close_stdout_again();
        // It returns only where it fails.
        let _failed = std::process::Command::new(program)
            .arg0(name)
            .args(arguments)
            .env(SPIN_COUNT, "2000")
            .exec();
    }
}

/// The optional features that this program was built with.
pub fn features() -> Vec<&'static str> {
    let mut features = vec!["flex"];
    if cfg!(feature = "libtorch") {
        features.push("libtorch");
    }
    features
}
