use std::future::Future;
use std::io;
use std::sync::OnceLock;

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// The threads that talk to the stores; they are started when the first store is asked.
pub(crate) fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let start = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("storage")
            .enable_all()
            .build()
    };
    RUNTIME
        .get_or_init(|| start().map_err(|e| e.to_string()))
        .as_ref()
        .map_err(|e| io::Error::other(format!("cannot start threads: {e}")))
}

pub(crate) fn wait<F: Future>(future: F) -> io::Result<F::Output> {
    Ok(runtime()?.block_on(future))
}

/// Awaits what was started on the runtime.
pub(crate) fn wait_for<T>(task: JoinHandle<io::Result<T>>) -> io::Result<T> {
    wait(task)?.map_err(io::Error::other)?
}
