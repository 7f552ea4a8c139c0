use ossify_settings::{ClipScope, Epsilon, OptimizerKind, TrainSettings};
use ossify_torch_kernels::optimiser::{BETA_2, Clip, Rule, StepOptions};

/// What a run's optimiser is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    /// Adam, AdamW or SGD.
    pub kind: OptimizerKind,
    /// Adam's epsilon, and where it is added.
    pub epsilon: Epsilon,
    /// AdamW's decay of kernels.
    pub weight_decay: f64,
    /// SGD's momentum.
    pub momentum: f64,
    /// Largest norm of gradients; 0 is off.
    pub clip_norm: f64,
    /// Whose norm.
    pub clip_scope: ClipScope,
    /// Times the sum of the squared kernels of the head's dense layers is added to the loss, before
    /// clipping, as Keras' L2 has it. Its gradient is added here: through the graph it would take
    /// several more passes over the weights.
    pub l2: f64,
}

impl Recipe {
    /// What the settings ask for.
    pub fn new(settings: &TrainSettings) -> Self {
        Recipe {
            kind: settings.optimizer.kind,
            epsilon: settings.optimizer.epsilon,
            weight_decay: settings.optimizer.weight_decay,
            momentum: settings.optimizer.momentum,
            clip_norm: settings.optimizer.clip_norm,
            clip_scope: settings.optimizer.clip_scope,
            l2: settings.loss.l2,
        }
    }

    /// Step `number`, from 1, with this learning rate.
    pub fn options(&self, number: u64, rate: f64) -> StepOptions {
        let number = number as f64;
        let rule = match self.kind {
            OptimizerKind::Sgd => Rule::Sgd { rate, momentum: self.momentum },
            OptimizerKind::Adam | OptimizerKind::AdamW => {
                // Kingma and Ba 2015: PyTorch follows algorithm 1, Keras the "epsilon hat" of
                // section 2, which comes before the correction of v's bias.
                let epsilon = match self.epsilon {
                    Epsilon::Torch => 1e-8_f64,
                    Epsilon::Keras => 1e-7_f64 / f64::sqrt(1.0 - BETA_2.powf(number)),
                };
                Rule::Adam {
                    number,
                    rate,
                    epsilon,
                    decay: if self.kind == OptimizerKind::AdamW { self.weight_decay } else { 0.0 },
                }
            }
        };
        let clip = match self.clip_scope {
            _ if self.clip_norm <= 0.0 => Clip::Off,
            ClipScope::Parameter => Clip::Parameter(self.clip_norm),
            ClipScope::Global => Clip::Global(self.clip_norm),
        };
        StepOptions { rule, clip, penalty: 2.0 * self.l2 }
    }

    /// Whether a running mean of squared gradients is kept.
    pub fn has_second(&self) -> bool {
        self.kind != OptimizerKind::Sgd
    }
}
