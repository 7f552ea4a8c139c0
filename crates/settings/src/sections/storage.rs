use crate::ranges::{between, local_folder};
use crate::schema::table;

table! {
    /// Datasets and work folders in object stores.
    StorageSettings {
        /// Requests in flight to one bucket.
        requests: usize [Nothing] = 64 => |v| between(v, 1, 4096);
        /// How often a failed request is retried, each time after a longer wait.
        retries: usize [Nothing] = 10 => |v| between(v, 0, 100);
        /// Seconds that a request may take.
        timeout_s: u64 [Nothing] = 60 => |v| between(v, 1, 3600);
        /// Folder of the mirrors of work folders.
        cache: String [Nothing] = "data/cache".into() => |v| local_folder(v);
        /// Gigabytes of fetched files that a mirror keeps.
        cache_gb: f64 [Nothing] = 100.0 => |v| between(v, 0.001, 1e6);
    }
}
