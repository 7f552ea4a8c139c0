use crate::choice::choice;
use crate::ranges::between;
use crate::schema::table;

choice! {
    /// What makes an epoch the best.
    BestBy {
        /// Accuracy plus mean IoU, so that class and box both count.
        Score = "score",
        /// The largest accuracy.
        Accuracy = "accuracy",
        /// The largest mean IoU.
        MeanIou = "mean-iou",
        /// The smallest loss.
        Loss = "loss",
    }
}

table! {
    /// What is kept of a run, and when it is saved.
    CheckpointSettings {
        /// What makes an epoch the best, whose weights are kept: "score" (accuracy plus mean IoU),
        /// "accuracy", "mean-iou" or "loss", on valid; on train where valid is empty.
        best_by: BestBy [Output] = BestBy::Score;
        /// Steps between checkpoints within an epoch; 0 writes them at its end alone. There is one
        /// at each epoch's end and on a signal.
        every_steps: u64 [Nothing] = 500 => |v| between(v, 0, 1_000_000_000_000);
    }
}
