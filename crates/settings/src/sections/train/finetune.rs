use crate::ranges::between;
use crate::schema::table;

table! {
    /// What `mode = "finetune"` trains, and when.
    FinetuneSettings {
        /// First dense block that is trained, from 1; those before it stay as they are,
        /// statistics included. 0 trains all.
        from_block: usize [Output] = 0 => |v| between(v, 0, 16);
        /// Epochs at whose end the backbone is unfrozen; before, the head learns from features
        /// that are computed once.
        frozen_epochs: u32 [Output] = 0 => |v| between(v, 0, 1_000_000);
        /// Learning rate after frozen_epochs; 0 uses train.optimizer.learning_rate.
        learning_rate: f64 [Output] = 0.0 => |v| between(v, 0.0, 10.0);
    }
}
