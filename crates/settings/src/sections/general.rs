use crate::ranges::between;
use crate::schema::table;

table! {
    /// What every stage shares.
    GeneralSettings {
        /// Seed of everything random.
        seed: u64 [Output] = 42;
        /// Threads; 0 uses one per processor. Never changes a result.
        threads: usize [Nothing] = 0 => |v| between(v, 0, 1024);
    }
}
