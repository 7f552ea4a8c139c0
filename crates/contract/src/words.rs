//! What may be in a table's column of words.

use ossify_vocabulary::words;

words! {
    /// A part of the dataset.
    #[derive(PartialOrd, Ord)]
    Split {
        /// What a model learns from.
        Train = "train",
        /// What choices are made on.
        Valid = "valid",
        /// What is looked at once, at the end.
        Test = "test",
    }
}

words! {
    /// What is known of an image.
    ImageStatus {
        /// It has at least one accepted object.
        Labelled = "labelled",
        /// Its label file has no line: nothing to find, by the labeller's word.
        Background = "background",
        /// It has no label file, or one of which nothing could be used: what is on it is not known.
        Unlabelled = "unlabelled",
        /// It cannot be used: not decodable, cut short, or too small.
        Unreadable = "unreadable",
    }
}

words! {
    /// How an object was drawn by the labeller.
    Shape {
        /// Centre and size.
        Box = "box",
        /// Vertices.
        Polygon = "polygon",
    }
}

words! {
    /// How alike two images of different splits are, from the surest on.
    #[derive(PartialOrd, Ord)]
    LeakTier {
        /// The files are the same, byte for byte.
        SameBytes = "same_bytes",
        /// The decoded pixels are the same.
        SamePixels = "same_pixels",
        /// The same picture, brightened, turned, mirrored, scaled or encoded again.
        Near = "near",
    }
}

words! {
    /// What became of a prediction or of an object.
    #[derive(PartialOrd, Ord)]
    MatchKind {
        /// Right class, IoU of at least 0.5.
        Match = "match",
        /// Wrong class, IoU of at least 0.5.
        ClassError = "class_error",
        /// Right class, IoU of at least 0.1 and below 0.5.
        LocationError = "location_error",
        /// Wrong class, IoU of at least 0.1 and below 0.5.
        Both = "both",
        /// Right class and box, yet a better prediction already has the object.
        Duplicate = "duplicate",
        /// IoU below 0.1 with every object.
        Background = "background",
        /// An object that no prediction found.
        Miss = "miss",
    }
}
