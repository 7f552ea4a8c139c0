//! The parameters that determine a dataset.

/// The parameters that determine a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Images over all splits, at least [`Parameters::MIN_IMAGES`].
    pub images: u64,
    /// Seed of everything.
    pub seed: u64,
    /// Write label files beside links to one tiny picture, instead of radiographs.
    pub labels_only: bool,
    /// Images of train that are copied to valid or test, in addition to `images`; fewer if train
    /// has fewer sound images without objects, and none with `labels_only`.
    pub leaks: u64,
}

impl Parameters {
    /// With fewer images, a split would lack common classes entirely.
    pub const MIN_IMAGES: u64 = 20;
    /// The plan of this many images takes about 2 GB of memory.
    pub const MAX_IMAGES: u64 = 10_000_000;
    /// From this number of images on, every fault has a file of its own; below it, only the first
    /// faults of the list are planted.
    pub const MIN_IMAGES_FOR_ALL_FAULTS: u64 = 60;
    /// The whole list of faults is planted once per this number of images.
    pub const IMAGES_PER_ROUND: u64 = 600;
    /// Objects of the rare class in train.
    pub const RARE_TRAIN_OBJECTS: usize = 3;

    /// The number of leaks to plant: none without pictures.
    pub(crate) fn planted_leaks(&self) -> u64 {
        if self.labels_only { 0 } else { self.leaks }
    }
}
