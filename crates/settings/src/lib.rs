//! Configuration and the command line that all stages share.
//!
//! [`Settings`] holds every key, typed, with its default; [`Layers`] merges the built-in defaults,
//! the conf file, the environment and `--set`, and remembers where each value came from;
//! [`run_stage`] is the frame around a stage: it resolves the configuration, gives the stage a
//! [`Context`], and turns its [`Outcome`] or [`StageError`] into messages and an exit code.

mod args;
mod choice;
mod conf_file;
mod context;
mod environment;
mod error;
mod exit;
mod frame;
mod layers;
mod margins;
mod nearest;
mod origin;
mod outcome;
mod print;
mod ranges;
mod renamed;
mod reporter;
mod rules;
mod schema;
mod sections;
mod share;
#[cfg(test)]
mod tests;
mod value;
mod written;

pub use args::{StageArgs, whole_number};
pub use context::Context;
pub use error::{ConfigError, RenamedKey};
pub use exit::Exit;
pub use frame::{parse, print, run_stage, say_error};
pub use layers::Layers;
pub use margins::{DropTest, Margin, MaxDrop, OffWord};
pub use nearest::nearest;
pub use origin::Origin;
pub use outcome::{Outcome, StageError};
pub use reporter::{Progress, Reporter, Verbosity};
pub use rules::{RuleLevel, RuleLevels, RulePolicy};
pub use schema::Effect;
pub use sections::{
    AugmentSettings, BestBy, BoxLoss, CheckpointSettings, ClassWeights, ClipScope, DatasetSettings,
    DetectSettings, Epsilon, EvaluateSettings, FinetuneSettings, GeneralSettings, IngestSettings,
    LossSettings, MissingLabels, ModelSettings, OptimizerKind, OptimizerSettings, PhantomSettings,
    PredictSettings, RareClasses, ResizeSettings, Sampler, SamplerSettings, Samples, Schedule,
    ScheduleSettings, Settings, StoppingSettings, StorageSettings, TrainMode, TrainSettings,
};
pub use share::{Share, ShareArgs};
