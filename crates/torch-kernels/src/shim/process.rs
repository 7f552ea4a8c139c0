//! What the whole process shares.

use crate::shim::call::{KernelError, Text, take};

unsafe extern "C" {
    fn ossify_take_plain_memory() -> Text;
    fn ossify_set_numerics(tf32: bool, deterministic: bool) -> Text;
}

/// See [`crate::runtime::keep_freed_memory`].
pub(crate) fn take_plain_memory() -> Result<(), KernelError> {
    // SAFETY: it takes no tensor and has no output. Tensors that exist keep the allocator that they
    // came from.
    unsafe { take(0, |_| ossify_take_plain_memory()) }.map(|_| ())
}

/// See [`crate::runtime::set_numerics`].
pub(crate) fn set_numerics(tf32: bool, deterministic: bool) -> Result<(), KernelError> {
    // SAFETY: it takes no tensor and has no output.
    unsafe { take(0, |_| ossify_set_numerics(tf32, deterministic)) }.map(|_| ())
}
