//! `[train]` and the tables below it.

mod augment;
mod checkpoint;
mod detect;
mod finetune;
mod loss;
mod model;
mod optimizer;
mod sampler;
mod schedule;
mod stopping;

pub use augment::AugmentSettings;
pub use checkpoint::{BestBy, CheckpointSettings};
pub use detect::DetectSettings;
pub use finetune::FinetuneSettings;
pub use loss::{BoxLoss, ClassWeights, LossSettings};
pub use model::ModelSettings;
pub use optimizer::{ClipScope, Epsilon, OptimizerKind, OptimizerSettings};
pub use sampler::{Sampler, SamplerSettings, Samples};
pub use schedule::{Schedule, ScheduleSettings};
pub use stopping::StoppingSettings;

use ossify_vocabulary::{DeviceChoice, Precision, Task};

use crate::choice::choice;
use crate::ranges::between;
use crate::schema::table;

choice! {
    /// Which weights are trained.
    TrainMode {
        /// The head alone; the backbone's pooled features are computed once and kept.
        Frozen = "frozen",
        /// The head and the backbone's later blocks, or all of them, from pretrained weights.
        Finetune = "finetune",
        /// The whole network, from random weights.
        Scratch = "scratch",
    }
}

table! {
    /// Shards to a model.
    TrainSettings {
        /// "classify" gives each image one class and one box, and learns from labelled images;
        /// "detect" any number of objects, none included, and learns from all.
        task: Task [Output] = Task::Classify;
        /// "frozen" trains the head on features that are computed once; "finetune" the head and
        /// the backbone; "scratch" all from random weights.
        mode: TrainMode [Output] = TrainMode::Frozen;
        /// Most passes over the samples.
        epochs: u32 [Length] = 50 => |v| between(v, 1, 1_000_000);
        /// Samples of a step.
        batch_size: usize [Output] = 16 => |v| between(v, 2, 65_536);
        /// "auto", "cpu", "cuda:N" or "flex".
        device: DeviceChoice [Nothing] = DeviceChoice::Auto;
        /// "float32"; on a CUDA device also "tf32", float32 whose products take 10 bits, or
        /// "bf16", bfloat16 maps with float32 weights and sums.
        precision: Precision [Output] = Precision::Float32;
        /// On a CUDA device, use only algorithms that give the same bits each time, where there
        /// are any. On processors runs are the same anyway.
        deterministic: bool [Output] = false;
        /// Keep the inputs of convolutions for the backward pass instead of computing them again:
        /// more than twice the memory, and hardly faster on processors.
        keep_activations: bool [Nothing] = false;
        [tables] {
            /// The network and its input.
            model: ModelSettings;
            /// What `task = "detect"` builds and minimises.
            detect: DetectSettings;
            /// What `mode = "finetune"` trains, and when.
            finetune: FinetuneSettings;
            /// What a sample is, and which samples an epoch draws.
            sampler: SamplerSettings;
            /// How training images are varied.
            augment: AugmentSettings;
            /// What is minimised.
            loss: LossSettings;
            /// How weights follow their gradients.
            optimizer: OptimizerSettings;
            /// How the learning rate changes.
            schedule: ScheduleSettings;
            /// When training ends before its last epoch.
            stopping: StoppingSettings;
            /// What is kept of a run, and when it is saved.
            checkpoint: CheckpointSettings;
        }
    }
}
