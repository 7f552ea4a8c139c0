use crate::choice::choice;
use crate::ranges::between;
use crate::schema::table;

choice! {
    /// How the learning rate changes.
    Schedule {
        /// Not at all.
        Constant = "constant",
        /// Half a cosine down to its least value.
        Cosine = "cosine",
        /// Multiplied by a factor whenever epochs stop getting better.
        Plateau = "plateau",
    }
}

table! {
    /// How the learning rate changes.
    ScheduleSettings {
        /// "constant", "cosine" or "plateau".
        kind: Schedule [Output] = Schedule::Constant;
        /// Epochs in which the learning rate rises from zero.
        warmup_epochs: f64 [Output] = 0.0 => |v| between(v, 0.0, 1e6);
        /// Where cosine ends and plateau stops, a share of the learning rate.
        final_share: f64 [Output] = 0.0 => |v| between(v, 0.0, 1.0);
        /// Epochs without a better one after which plateau lowers the learning rate.
        plateau_patience: u32 [Output] = 5 => |v| between(v, 1, 1_000_000);
        /// What plateau multiplies the learning rate by.
        plateau_factor: f64 [Output] = 0.3 => |v| between(v, 0.001, 0.999);
    }
}
