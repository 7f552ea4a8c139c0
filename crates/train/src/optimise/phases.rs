use ossify_settings::{TrainMode, TrainSettings};

/// Which part of the network learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trained {
    /// The head, from features that were computed once.
    Head,
    /// The head and the backbone from this dense block on, counted from 1; what lies before stays
    /// as it is.
    FromBlock(usize),
    /// Everything.
    All,
}

/// Epochs in which the same part learns. Each phase has an optimiser and a schedule of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phase {
    /// Its first epoch, from 1.
    pub first_epoch: u32,
    /// How many epochs.
    pub epochs: u32,
    /// Which part learns.
    pub trained: Trained,
    /// Its learning rate.
    pub learning_rate: f64,
}

impl Phase {
    /// The first dense block that learns, counted from 1; 0 where all that lies before learns, too,
    /// and `None` where the head learns alone.
    pub fn first_block(&self) -> Option<usize> {
        match self.trained {
            Trained::Head => None,
            Trained::FromBlock(block) => Some(block),
            Trained::All => Some(0),
        }
    }
}

/// The phases of a run, in order; at least one.
pub fn phases(settings: &TrainSettings) -> Vec<Phase> {
    let whole = |trained| Phase {
        first_epoch: 1,
        epochs: settings.epochs,
        trained,
        learning_rate: settings.optimizer.learning_rate,
    };
    match settings.mode {
        TrainMode::Frozen => vec![whole(Trained::Head)],
        TrainMode::Scratch => vec![whole(Trained::All)],
        TrainMode::Finetune => {
            let trained = if settings.finetune.from_block == 0 {
                Trained::All
            } else {
                Trained::FromBlock(settings.finetune.from_block)
            };
            let frozen_epochs = settings.finetune.frozen_epochs.min(settings.epochs);
            let learning_rate = match settings.finetune.learning_rate {
                0.0 => settings.optimizer.learning_rate,
                rate => rate,
            };
            let frozen = Phase { epochs: frozen_epochs, ..whole(Trained::Head) };
            let finetune = Phase {
                first_epoch: frozen_epochs + 1,
                epochs: settings.epochs - frozen_epochs,
                trained,
                learning_rate,
            };
            [frozen, finetune].into_iter().filter(|phase| phase.epochs > 0).collect()
        }
    }
}

/// The phase that an epoch belongs to; epochs past the end belong to the last.
pub fn phase_of(phases: &[Phase], epoch: u32) -> Option<&Phase> {
    phases.iter().rev().find(|phase| epoch >= phase.first_epoch).or(phases.first())
}

#[cfg(test)]
mod tests {
    use ossify_settings::FinetuneSettings;

    use super::*;

    #[test]
    fn a_frozen_phase_comes_before_the_fine_tuning() {
        let mut settings =
            TrainSettings { mode: TrainMode::Finetune, epochs: 10, ..Default::default() };
        settings.finetune =
            FinetuneSettings { from_block: 4, frozen_epochs: 3, learning_rate: 1e-5 };
        settings.optimizer.learning_rate = 1e-3;
        let found = phases(&settings);
        let frozen =
            Phase { first_epoch: 1, epochs: 3, trained: Trained::Head, learning_rate: 1e-3 };
        let finetune = Phase {
            first_epoch: 4,
            epochs: 7,
            trained: Trained::FromBlock(4),
            learning_rate: 1e-5,
        };
        assert_eq!(found, [frozen, finetune]);
        assert_eq!(
            [1, 3, 4, 10, 11]
                .map(|epoch| phase_of(&found, epoch).unwrap().trained == Trained::Head),
            [true, true, false, false, false]
        );
        let all =
            phases(&TrainSettings { finetune: FinetuneSettings::default(), ..settings.clone() });
        assert_eq!(
            all,
            [Phase { first_epoch: 1, epochs: 10, trained: Trained::All, learning_rate: 1e-3 }]
        );
        settings.finetune.frozen_epochs = 50;
        assert_eq!(phases(&settings).len(), 1);
    }
}
