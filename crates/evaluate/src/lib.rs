//! How good a predictions table is, how sure we are, and where it fails.
//!
//! [`run`] is the stage: it reads label tables and predictions (whoever wrote them) and publishes a
//! report for each split: `report.html` for people, `report.json` for programs, `matches.parquet`
//! for analysts. [`compare`] sets several predictions tables over the same images against each
//! other: `compare.html` and `compare.json`. The parts stand alone: [`SplitData`] is what is
//! scored, [`Scorer`] computes every score under image weights, [`intervals`] resamples images for
//! the 95 % bootstrap intervals, [`paired_intervals`] for those of differences,
//! [`class_detections`] and [`precision_recall`] follow the COCO protocol, [`match_image`] says
//! what became of each prediction.
//!
//! [`import`] makes a predictions table of what other tools wrote, [`export`] writes ground truth
//! and predictions for them.

#![warn(missing_docs)]

mod bootstrap;
mod calibration;
mod ci;
mod coco;
mod compare;
mod confusion;
mod curves;
mod drawing;
mod evaluate;
mod export;
mod failures;
mod images;
mod import;
mod inputs;
mod matches;
mod overlays;
mod page;
mod predictions;
mod report;
mod scores;
mod sources;
mod words;

pub use bootstrap::{
    Difference, Interval, PairedScores, intervals, paired_intervals, resampling_units,
};
pub use calibration::{Fitted, OperatingPoint};
pub use coco::{ClassDetections, PrecisionRecall, class_detections, precision_recall};
pub use compare::{
    AgainstBaseline, ClassLevels, ComparedTable, Comparison, ConfusionChange, ImageChange,
    ImageChanges, Levels, Seen, compare, mcnemar_exact,
};
pub use confusion::Confusion;
pub use evaluate::run;
pub use export::{ExportArgs, export};
pub use failures::{ConfusedPair, Slice};
pub use import::{CategoryIds, ImportArgs, ImportError, ImportFormat, import, parse_split};
pub use inputs::{Excluded, InputError, Light, Prediction, ScoredImage, SplitData, Tables, Truth};
pub use matches::match_image;
pub use report::{
    Bootstrap, CalibrationReport, ClassReport, ConfusionTable, Counts, DetectionClassReport,
    DetectionReport, LeaklessReport, Report,
};
pub use scores::{
    DetectionOfClass, DetectionScores, ImageScores, ObjectScores, OperatingScores, ScaledScores,
    ScoreSheet, Scorer, ScoresOfClass,
};
