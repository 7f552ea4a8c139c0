use crate::ranges::between;
use crate::schema::table;

table! {
    /// When training ends before its last epoch.
    StoppingSettings {
        /// Stop when an epoch's accuracy on train reaches this; 0 is off.
        train_accuracy: f64 [Length] = 0.90 => |v| between(v, 0.0, 1.0);
        /// Stop after this many epochs without a better one; 0 is off.
        patience: u32 [Length] = 0 => |v| between(v, 0, 1_000_000);
        /// How much better an epoch must be to count, here and for the schedule "plateau".
        min_delta: f64 [Output] = 0.0 => |v| between(v, 0.0, 1e6);
        /// Stop before the epoch that would end after this many minutes; 0 is off.
        max_minutes: f64 [Length] = 0.0 => |v| between(v, 0.0, 1e6);
    }
}
