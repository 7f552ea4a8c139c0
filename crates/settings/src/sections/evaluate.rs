use ossify_contract::Split;

use crate::margins::{DropTest, MaxDrop};
use crate::ranges::{between, shares, splits};
use crate::schema::{Entries, table};

table! {
    /// Predictions to a report.
    EvaluateSettings {
        /// Id of the predictions, "latest", or the path of a predictions table.
        // A report depends on the predictions that it names, however it does so.
        predictions: String [Nothing] = "latest".into();
        /// Splits to report on, where there are predictions for them.
        splits: Vec<Split> [Output] = vec![Split::Valid, Split::Test] => |v| splits(v);
        /// Resamples of the bootstrap.
        bootstrap_samples: u32 [Output] = 1000 => |v| between(v, 0, 1_000_000);
        /// Sensitivities (recalls) that a threshold is looked for with, for each class, on the
        /// valid split.
        sensitivities: Vec<f64> [Output] = vec![0.9, 0.95] => |v| shares(v);
        /// Specificities that a threshold is looked for with on the valid split, of a detector: for
        /// any finding and for each class.
        specificities: Vec<f64> [Output] = vec![0.9] => |v| shares(v);
        /// Score predictions although some images have none, or other shards were predicted than
        /// those that are there; the report says so.
        allow_gaps: bool [Output] = false;
        /// Images drawn with their boxes, in the report of a split and in a comparison.
        overlays: usize [Output] = 24 => |v| between(v, 0, 10_000);
        /// Gate: least image accuracy on the first split; exit code 3 below it. 0 is off.
        min_accuracy: f64 [Output] = 0.0 => |v| between(v, 0.0, 1.0);
        /// Gate: least balanced accuracy over objects. 0 is off.
        min_balanced_accuracy: f64 [Output] = 0.0 => |v| between(v, 0.0, 1.0);
        /// Gate: least macro F1 over images. 0 is off.
        min_macro_f1: f64 [Output] = 0.0 => |v| between(v, 0.0, 1.0);
        /// Gate: least mean IoU over objects. 0 is off.
        min_mean_iou: f64 [Output] = 0.0 => |v| between(v, 0.0, 1.0);
        /// Gate: least AP at IoU 0.5. 0 is off.
        min_ap50: f64 [Output] = 0.0 => |v| between(v, 0.0, 1.0);
        /// Gate: least mean sensitivity over 1/8 to 8 false alarms an image (FROC). 0 is off.
        min_froc: f64 [Output] = 0.0 => |v| between(v, 0.0, 1.0);
        /// Gate: least AUROC of any finding by image, of a detector. 0 is off.
        min_finding_auroc: f64 [Output] = 0.0 => |v| between(v, 0.0, 1.0);
        /// What counts as a drop beyond its margin in a comparison: "clear" (the whole 95 %
        /// interval of the drop lies above the margin), "measured" (the drop itself does),
        /// "possible" (the interval reaches above it).
        drop_test: DropTest [Output] = DropTest::Clear;
        [names] {
            /// Gates of a comparison: the most by which a score may drop below that of the
            /// baseline on the first split; exit code 3 beyond it. 0 allows no drop, "off" any.
            max_drop: MaxDrop [Output] = MaxDrop::names(), MaxDrop::check;
        }
    }
}
