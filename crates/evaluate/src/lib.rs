//! How good a predictions table is, how sure we are, and where it fails.
//!
//! [`run`] is the stage: it reads label tables and predictions (whoever wrote them) and publishes a
//! report for each split: `report.html` for people, `report.json` for programs, `matches.parquet`
//! for analysts. [`compare`] sets several predictions tables over the same images against each
//! other: `compare.html` and `compare.json`. The parts stand alone: [`SplitData`] is what is
//! scored, [`Scorer`] computes every score under image weights, [`intervals`] resamples images for
//! the 95 % bootstrap intervals, [`paired_intervals`] for those of differences, and
//! [`match_image`] says what became of each prediction.
//!
//! [`import`] makes a predictions table of what other tools wrote, [`export`] writes ground truth
//! and predictions for them.

#![warn(missing_docs)]

mod compare;
mod evaluate;
mod exchange;
mod failures;
mod read;
mod report;
mod scores;

pub use compare::{
    AgainstBaseline, ClassLevels, ComparedTable, Comparison, ConfusionChange, ImageChange,
    ImageChanges, Levels, Seen, compare, mcnemar_exact,
};
pub use evaluate::run;
pub use exchange::export::{ExportArgs, export};
pub use exchange::import::{CategoryIds, ImportArgs, ImportError, ImportFormat, import};
pub use failures::confused_pairs::ConfusedPair;
pub use failures::matches::match_image;
pub use failures::slices::Slice;
pub use read::error::InputError;
pub use read::split::{Excluded, Light, Prediction, ScoredImage, SplitData, Truth};
pub use read::tables::Tables;
pub use report::contents::{
    CalibrationReport, ClassReport, ConfusionCell, ConfusionTable, Counts, DetectionClassReport,
    DetectionReport, LeaklessReport, Report,
};
pub use scores::bootstrap::{
    Bootstrap, Difference, Interval, PairedScores, intervals, paired_intervals, resampling_units,
};
pub use scores::calibration::{Fitted, OperatingPoint};
pub use scores::confusion::{ClassCounts, Confusion};
pub use scores::detections::class_detections;
pub use scores::scorer::Scorer;
pub use scores::sheet::{
    DetectionOfClass, DetectionScores, ImageScores, ObjectScores, OperatingScores, ScaledScores,
    ScoreSheet, ScoresOfClass,
};
