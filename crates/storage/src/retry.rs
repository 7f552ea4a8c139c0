use std::future::Future;
use std::time::{Duration, Instant};

use object_store::Error;

use crate::http::is_foreign_answer;
use crate::requests::requests;

/// Between a request that failed and its repetition; twice as long after each.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Sends a request again that the client does not repeat by itself: one that is not idempotent (a
/// conditional put) or consists of several (a large upload). The caller copes with a request that
/// was done although its answer was lost.
pub(crate) async fn with_retries<T, F: Future<Output = Result<T, Error>>>(
    mut request: impl FnMut() -> F,
) -> Result<T, Error> {
    let mut backoff = Backoff::new();
    loop {
        match request().await {
            Err(e) if backoff.may_retry(&e) => backoff.wait().await,
            result => return result,
        }
    }
}

struct Backoff {
    retries_left: usize,
    began: Instant,
    give_up_after: Duration,
    pause: Duration,
}

impl Backoff {
    fn new() -> Self {
        let requests = requests();
        Backoff {
            retries_left: requests.retries,
            began: Instant::now(),
            give_up_after: requests.patience(),
            pause: FIRST_PAUSE,
        }
    }

    /// Whether an error may be gone the next time: not what the store said, but what befell the
    /// connection.
    fn may_retry(&mut self, error: &Error) -> bool {
        let is_of_connection = matches!(error, Error::Generic { .. } | Error::JoinError { .. })
            && !is_foreign_answer(error);
        if !is_of_connection || self.retries_left == 0 || self.began.elapsed() > self.give_up_after
        {
            return false;
        }
        self.retries_left -= 1;
        true
    }

    async fn wait(&mut self) {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}
