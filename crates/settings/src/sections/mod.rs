//! The tables of the conf file, a file each.

mod dataset;
mod evaluate;
mod general;
mod ingest;
mod phantom;
mod predict;
mod resize;
mod storage;
mod train;

pub use dataset::{DatasetSettings, MissingLabels};
pub use evaluate::EvaluateSettings;
pub use general::GeneralSettings;
pub use ingest::{IngestSettings, RareClasses};
pub use phantom::PhantomSettings;
pub use predict::PredictSettings;
pub use resize::ResizeSettings;
pub use storage::StorageSettings;
pub use train::{
    AugmentSettings, BestBy, BoxLoss, CheckpointSettings, ClassWeights, ClipScope, DetectSettings,
    Epsilon, FinetuneSettings, LossSettings, ModelSettings, OptimizerKind, OptimizerSettings,
    Sampler, SamplerSettings, Samples, Schedule, ScheduleSettings, StoppingSettings, TrainMode,
    TrainSettings,
};

use crate::schema::{Schema, Table, table};

table! {
    /// The resolved configuration.
    Settings {
        [tables] {
            /// What every stage shares.
            general: GeneralSettings;
            /// The dataset.
            dataset: DatasetSettings;
            /// Datasets and work folders in object stores.
            storage: StorageSettings;
            /// The synthetic dataset.
            phantom: PhantomSettings;
            /// Labels to tables.
            ingest: IngestSettings;
            /// Images to tensor shards.
            resize: ResizeSettings;
            /// Shards to a model.
            train: TrainSettings;
            /// A model to predictions.
            predict: PredictSettings;
            /// Predictions to a report.
            evaluate: EvaluateSettings;
        }
    }
}

/// Every table of the conf file, in the order of the documentation.
pub(crate) fn tables() -> Vec<Table> {
    let mut tables = Settings::tables("");
    tables.retain(|table| !table.path.is_empty());
    tables
}
