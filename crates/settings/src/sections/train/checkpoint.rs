use crate::choice::choice;
use crate::ranges::between;
use crate::schema::table;

choice! {
    /// What makes an epoch the best.
    BestBy {
        /// What suits the task: a detector's AP, a classifier's score.
        Auto = "auto",
        /// Accuracy plus mean IoU, so that class and box both count.
        Score = "score",
        /// The largest accuracy.
        Accuracy = "accuracy",
        /// The largest mean IoU.
        MeanIou = "mean-iou",
        /// A detector's largest AP over IoUs from 0.5 to 0.95.
        Ap = "ap",
        /// A detector's largest AP at an IoU of 0.5.
        Ap50 = "ap50",
        /// A detector's largest AUROC of "any finding".
        Auroc = "auroc",
        /// The smallest loss.
        Loss = "loss",
    }
}

table! {
    /// What is kept of a run, and when it is saved.
    CheckpointSettings {
        /// What makes an epoch the best, whose weights are kept: of a classifier "score" (accuracy
        /// plus mean IoU), "accuracy" or "mean-iou", of a detector "ap", "ap50" or "auroc", of both
        /// "loss" or "auto" ("score" or "ap"); on valid. Where valid is empty a classifier is
        /// scored on train, and a detector by its loss there.
        best_by: BestBy [Output] = BestBy::Auto;
        /// Steps between checkpoints within an epoch; 0 writes them at its end alone. There is one
        /// at each epoch's end and on a signal.
        every_steps: u64 [Nothing] = 500 => |v| between(v, 0, 1_000_000_000_000);
    }
}
