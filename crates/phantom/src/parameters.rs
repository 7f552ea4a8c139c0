//! What decides a dataset.

/// What decides a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Images over all splits, at least [`Parameters::MIN_IMAGES`].
    pub images: u64,
    /// Seed of everything.
    pub seed: u64,
    /// Labels beside one tiny picture under many names, instead of radiographs.
    pub labels_only: bool,
    /// Images of train that stand once more in valid or test, beyond `images`; fewer where train
    /// has fewer sound images without objects, and none with `labels_only`.
    pub leaks: u64,
}

impl Parameters {
    /// With fewer images a split would lack common classes altogether.
    pub const MIN_IMAGES: u64 = 20;
    /// The plan of so many images takes about 2 GB of memory.
    pub const MAX_IMAGES: u64 = 10_000_000;
    /// From so many images on, every fault finds a file of its own; below, the first ones of the
    /// list do.
    pub const MIN_IMAGES_FOR_ALL_FAULTS: u64 = 60;
    /// Each so many images hold the whole list of faults once.
    pub const IMAGES_PER_ROUND: u64 = 600;
    /// Objects of the rare class in train.
    pub const RARE_TRAIN_OBJECTS: usize = 3;

    /// The leaks that are asked for and can be.
    pub(crate) fn planted_leaks(&self) -> u64 {
        if self.labels_only { 0 } else { self.leaks }
    }
}
