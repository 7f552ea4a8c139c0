//! Configuration and the command line that all stages share.
//!
//! [`Settings`] holds every key, typed, with its default; [`Layers`] merges the built-in defaults,
//! the conf file, the environment and `--set`, and remembers where each value came from;
//! [`run_stage`] is the frame around a stage: it resolves the configuration, gives the stage a
//! [`Context`], and turns its [`Outcome`] or [`StageError`] into messages and an exit code.

mod choice;
mod conf_file;
mod environment;
mod error;
mod layers;
mod margins;
mod nearest;
mod origin;
mod print;
mod ranges;
mod renamed;
mod reporter;
mod rules;
mod schema;
mod sections;
mod share;
mod stage;
#[cfg(test)]
mod tests;
mod value;

pub use error::{ConfigError, RenamedKey};
pub use layers::Layers;
pub use margins::{DropTest, Margin, MaxDrop, OffWord};
pub use nearest::nearest;
pub use origin::Origin;
pub use reporter::{Progress, Reporter, Verbosity};
pub use rules::{RuleLevel, RuleLevels, RulePolicy};
pub use schema::Effect;
pub use sections::{
    AugmentSettings, BestBy, BoxLoss, Channels, CheckpointSettings, ClassWeights, ClipScope,
    Compression, DatasetSettings, Epsilon, EvaluateSettings, Filter, FinetuneSettings,
    GeneralSettings, Geometry, IngestSettings, LossSettings, MissingLabels, ModelSettings,
    Normalization, OptimizerKind, OptimizerSettings, PhantomSettings, PredictSettings, RareClasses,
    ResizeSettings, Sampler, SamplerSettings, Samples, Schedule, ScheduleSettings, Settings,
    StoppingSettings, StorageSettings, TrainMode, TrainPrecision, TrainSettings,
};
pub use share::{Share, ShareArgs};
pub use stage::{Context, Gate, Outcome, StageArgs, StageError, run_stage};
