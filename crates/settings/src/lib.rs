//! Configuration and the command line that all stages share.
//!
//! [`Settings`] holds every key, typed, with its default; [`Layers`] merges the built-in defaults,
//! the conf file, the environment and `--set`, and remembers where each value came from;
//! [`run_stage`] is the frame around a stage: it resolves the configuration, gives the stage a
//! [`Context`], and turns its [`Outcome`] or [`StageError`] into messages and an exit code.

mod layers;
mod margins;
mod reporter;
mod rules;
mod sections;
mod share;
mod stage;

pub use layers::{ConfigError, Layers, Origin, nearest};
pub use margins::{DropTest, Margin, MaxDrop, OffWord};
pub use reporter::{Progress, Reporter, Verbosity};
pub use rules::{RuleLevel, RuleLevels, RulePolicy};
pub use sections::{
    BestBy, BoxLoss, Channels, ClassWeights, ClipScope, Compression, DatasetSettings, Epsilon,
    EvaluateSettings, Filter, GeneralSettings, Geometry, IngestSettings, Key, MissingLabels,
    NamedTable, Normalization, OptimizerKind, PhantomSettings, PredictSettings, RareClasses,
    ResizeSettings, Sampler, Samples, Schedule, Settings, StorageSettings, TrainMode,
    TrainPrecision, TrainSettings, keys, tables,
};
pub use share::{Share, ShareArgs};
pub use stage::{Context, Gate, Outcome, StageArgs, StageError, run_stage};
