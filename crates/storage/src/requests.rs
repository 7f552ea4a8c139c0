use std::sync::OnceLock;
use std::time::Duration;

/// How object stores are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requests {
    /// Requests in flight to one bucket.
    pub in_flight: usize,
    /// How often a request that failed is sent again, each time after a longer wait.
    pub retries: usize,
    /// How long a request may take.
    pub timeout: Duration,
}

impl Default for Requests {
    /// 64 in flight, 10 retries, one minute.
    fn default() -> Self {
        Requests { in_flight: 64, retries: 10, timeout: Duration::from_secs(60) }
    }
}

impl Requests {
    /// Give up on a request, and report the error, after this long, whatever retries are left.
    pub(crate) fn patience(&self) -> Duration {
        self.timeout.saturating_mul(4)
    }
}

static REQUESTS: OnceLock<Requests> = OnceLock::new();

/// Sets how object stores are asked from now on. The first call of the process counts.
pub fn configure(requests: Requests) {
    let _ = REQUESTS.set(requests);
}

/// How object stores are asked.
pub fn requests() -> Requests {
    REQUESTS.get().copied().unwrap_or_default()
}
