use crate::choice::choice;
use crate::schema::table;

choice! {
    /// Which samples an epoch draws.
    Sampler {
        /// Each once, in random order.
        Shuffle = "shuffle",
        /// As many of each class, in random order; samples of rare classes come several times.
        Balanced = "balanced",
    }
}

choice! {
    /// What one training sample is.
    Samples {
        /// An object: an image with two objects is two samples.
        Object = "object",
        /// An image with its largest object.
        Image = "image",
    }
}

table! {
    /// What a sample is, and which samples an epoch draws.
    SamplerSettings {
        /// "shuffle" (each sample once an epoch) or "balanced" (as many of each class).
        kind: Sampler [Output] = Sampler::Shuffle;
        /// "object" (one sample per object) or "image" (one per image, with its largest object).
        unit: Samples [Output] = Samples::Object;
    }
}
