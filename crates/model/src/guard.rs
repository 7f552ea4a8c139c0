use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Arc, Mutex};

/// The device failed while it worked.
#[derive(Debug, thiserror::Error)]
pub enum DeviceFailure {
    /// It has too little memory.
    #[error("the device is out of memory: lower {lower} ({said})")]
    OutOfMemory {
        /// The keys that need less memory when they are lowered.
        lower: String,
        /// What the device said.
        said: String,
    },
    /// Anything else.
    #[error("the device failed: {said}; RUST_BACKTRACE=1 shows where{trace}")]
    Other {
        /// What the device said.
        said: String,
        /// Where, on lines of their own; empty without RUST_BACKTRACE.
        trace: String,
    },
}

/// Runs work on a device. Burn's backends panic where the device fails, out of memory above all;
/// here that becomes an error. `lower` names what needs less memory when it is lowered.
///
/// # Errors
/// The work's own, or the device's.
pub fn on_device<T, E: From<DeviceFailure>>(
    lower: &str,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let hook = take_hook();
    let trace = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&trace);
    // The error says what happened; with RUST_BACKTRACE it says where, too.
    set_hook(Box::new(move |panic| {
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured
            && let Ok(mut trace) = heard.lock()
        {
            let location = panic.location().map(ToString::to_string).unwrap_or_default();
            *trace = format!("\n{location}\n{backtrace}");
        }
    }));
    let result = catch_unwind(AssertUnwindSafe(work));
    set_hook(hook);
    let trace = trace.lock().map(|trace| trace.clone()).unwrap_or_default();
    result.unwrap_or_else(|payload| Err(explain(&message(payload.as_ref()), lower, trace).into()))
}

fn message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_default()
}

fn explain(message: &str, lower: &str, trace: String) -> DeviceFailure {
    // libtorch appends a stack of its own.
    let said =
        message.split("Exception raised from").next().unwrap_or_default().replace("\\n", "\n");
    let said = said.lines().next().unwrap_or_default().trim().to_owned();
    if ["out of memory", "can't allocate memory", "not enough memory", "bad_alloc"]
        .iter()
        .any(|words| message.contains(words))
    {
        DeviceFailure::OutOfMemory { lower: lower.to_owned(), said }
    } else {
        DeviceFailure::Other { said, trace }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_memory_says_what_to_lower() {
        let torch = concat!(
            "called `Result::unwrap()` on an `Err` value: Torch(\"CUDA out of memory. ",
            "Tried to allocate 20.00 GiB.\\nException raised from malloc\")"
        );
        let error =
            on_device::<(), DeviceFailure>("train.batch_size or train.model.input_px", || {
                panic!("{torch}")
            })
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(
                "the device is out of memory: lower train.batch_size or train.model.input_px"
            ),
            "{error}"
        );
        assert!(!error.contains("Exception"), "{error}");
    }

    #[test]
    fn work_that_ends_well_or_badly_by_itself_passes_through() {
        assert_eq!(on_device::<_, DeviceFailure>("x", || Ok(3)).unwrap(), 3);
        let refused = on_device::<(), DeviceFailure>("x", || {
            Err(DeviceFailure::Other { said: "no".into(), trace: String::new() })
        });
        assert!(refused.unwrap_err().to_string().starts_with("the device failed: no;"));
    }
}
