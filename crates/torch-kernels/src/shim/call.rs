//! How a C++ function is called: tensors in and out, and what went wrong as text.

use std::ffi::{CStr, c_char};

use tch::Tensor;
use torch_sys::C_tensor;

/// What libtorch said when an operation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KernelError(pub(super) String);

impl From<String> for KernelError {
    fn from(words: String) -> Self {
        Self(words)
    }
}

impl std::fmt::Display for KernelError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

pub(super) type Text = *mut c_char;
pub(super) type Input = *const C_tensor;
pub(super) type Outputs = *mut *mut C_tensor;

unsafe extern "C" {
    fn ossify_free_text(text: Text);
}

/// Takes ownership of a function's outputs, or of its error.
///
/// # Safety
/// `call` must fill the `N` outputs with null or with tensors that nobody else owns, and return
/// null or a text for `ossify_free_text`.
pub(super) unsafe fn take(
    count: usize,
    call: impl FnOnce(Outputs) -> Text,
) -> Result<Vec<Option<Tensor>>, KernelError> {
    let mut outputs = vec![std::ptr::null_mut(); count];
    let text = call(outputs.as_mut_ptr());
    // SAFETY: by this function's contract each pointer that is not null is a tensor of our own.
    let outputs = outputs
        .into_iter()
        .map(|tensor| (!tensor.is_null()).then(|| unsafe { Tensor::from_ptr(tensor) }))
        .collect();
    if text.is_null() {
        return Ok(outputs);
    }
    // SAFETY: a text that is not null is a string with an end, which stays until it is freed here,
    // once.
    let said = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    // SAFETY: as above; nothing refers to it any more.
    unsafe { ossify_free_text(text) };
    Err(KernelError(said))
}

pub(super) fn all<const N: usize>(
    outputs: Vec<Option<Tensor>>,
) -> Result<[Tensor; N], KernelError> {
    let found: Option<Vec<Tensor>> = outputs.into_iter().collect();
    found.and_then(|outputs| outputs.try_into().ok()).ok_or_else(missing)
}

pub(super) fn missing() -> KernelError {
    KernelError("a kernel left out one of its outputs; this is a defect of ossify".into())
}

pub(super) fn pointers(tensors: &[&Tensor]) -> Vec<Input> {
    tensors.iter().map(|tensor| tensor.as_ptr()).collect()
}

/// A number as libtorch has them.
pub(super) fn number(value: usize) -> Result<i64, KernelError> {
    i64::try_from(value).map_err(|_| {
        KernelError(format!(
            "libtorch has no number as large as {value}; this is a defect of ossify"
        ))
    })
}
