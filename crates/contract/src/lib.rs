//! The artefacts through which the stages meet: row types with their Arrow schemas, shards,
//! manifests, geometry, and the atomic publishing of output folders.
//!
//! Stages share no memory and know nothing of each other; what one writes and another reads is
//! defined here and nowhere else.

mod cast;
mod cell;
mod class_map;
mod error;
mod inputs;
mod label_path;
mod manifest;
mod part;
mod partition;
mod pinned;
mod predictions;
mod publish;
mod report;
mod run;
mod shards;
mod summary;
mod table;
mod tables;
mod time;
mod transform;
mod unit_box;
mod user_file;
mod version;
mod words;
mod work_folder;

pub use cell::Cell;
pub use class_map::ClassMap;
pub use error::{ArtefactError, Result};
pub use inputs::{Inputs, begin_unchanged, read_unchanged, refuse_changed};
pub use label_path::{label_path, labels_folder};
pub use manifest::{
    FileEntry, Fingerprint, HashingWriter, MANIFEST_FILE, Manifest, hash_file, open,
};
pub use ossify_diagnostics::{Action, Finding, Location, Severity};
pub use part::{
    HashingReader, Part, PartFile, PartFolder, PartPayload, PartSummary, TempPath, current_part,
    read_parts,
};
pub use partition::{
    MAX_PARTITIONS, Partition, PartitionError, share_of_pieces, share_position,
    share_position_of_label,
};
pub use pinned::PinnedFile;
pub use predictions::{
    ImagePredictionRow, PredictionRow, image_predictions_file, predictions_file,
};
pub use publish::{Publication, write_atomic};
pub use report::MatchRow;
pub use run::{
    Environment, EpochMetrics, LATEST_FILE, SCORES, Score, SplitMetrics, is_plain_id, read_latest,
    read_metrics, write_latest,
};
pub use shards::{
    Access, BATCH_IMAGES, FingerprintRow, LeakRow, ShardImage, ShardReader, ShardRow, ShardShape,
    ShardWriter, Tensor, shard_file_name, shards_of,
};
pub use summary::{
    ClassesSummary, ComparedSummary, ComparisonSummary, Difference, Excluded, FailedImage,
    FilteredClass, FindingsSummary, Gate, ImportedSplit, Interval, LeakCounts, LeftOutRows,
    MergedClass, PredictionsSummary, RareClass, ReportSummary, RunSummary, ShardsSummary,
    SplitCounts, Summary, TablesSummary, TensorSummary, UnreadableImage,
};
pub use table::{Row, TableReader, TableWriter, read_table};
pub use tables::{ClassRow, ImageRow, IssueRow, Ledger, ObjectRow, SplitLedger};
pub use time::now_rfc3339;
pub use transform::Transform;
pub use unit_box::UnitBox;
pub use user_file::{TextError, read_user_text, user_text, write_user_file};
pub use version::{SCHEMA_VERSION, schema_version_of};
pub use words::{ImageStatus, LeakTier, MatchKind, Shape, Split};
pub use work_folder::WorkFolder;
