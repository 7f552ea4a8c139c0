//! What stages write into their manifests, for other stages and for themselves.

mod gate;
mod predictions;
mod report;
mod run;
mod shards;
mod tables;
mod typed;

pub use gate::Gate;
pub use predictions::{ImportedSplit, LeftOutRows, PredictionsSummary, UnreadableImage};
pub use report::{
    ComparedSummary, ComparisonSummary, Difference, Excluded, Interval, ReportSummary,
};
pub use run::RunSummary;
pub use shards::{FailedImage, LeakCounts, ShardsSummary, TensorSummary};
pub use tables::{
    ClassesSummary, FilteredClass, FindingsSummary, MergedClass, RareClass, SplitCounts,
    TablesSummary,
};
pub use typed::Summary;
