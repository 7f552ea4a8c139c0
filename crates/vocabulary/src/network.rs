use crate::words;

words! {
    /// A network that can be built.
    Architecture {
        /// torchvision's `densenet121`: 6,953,856 weights, 2.6 GMAC at 224 pixels, 1,024 features.
        DenseNet121 = "densenet121",
        /// torchvision's `densenet161`.
        DenseNet161 = "densenet161",
        /// torchvision's `densenet169`.
        DenseNet169 = "densenet169",
        /// torchvision's `densenet201`.
        DenseNet201 = "densenet201",
        /// A small DenseNet for training from scratch on a few processor cores: 0.2 million
        /// weights, 58 MMAC at 112 pixels. Its features keep where things are.
        DenseNetCompact = "densenet-compact",
    }
}

words! {
    /// What a network says about an image.
    Task {
        /// One class and one box.
        Classify = "classify",
        /// Any number of objects, none included, each with a class, a box and a score.
        Detect = "detect",
    }
}

words! {
    /// How u8 pixels become network input.
    #[derive(Default)]
    Normalization {
        /// `(pixel / 255 - mean) / standard deviation` with the channel statistics of ImageNet,
        /// which torchvision's weights expect.
        #[default]
        ImageNet = "imagenet",
        /// `pixel / 255`.
        None = "none",
    }
}

impl Normalization {
    /// Mean of each channel (red, green, blue) that is subtracted, on the scale 0..1.
    pub fn mean(self) -> [f32; 3] {
        match self {
            Self::ImageNet => [0.485, 0.456, 0.406],
            Self::None => [0.0; 3],
        }
    }

    /// Standard deviation of each channel that is divided by, on the scale 0..1.
    pub fn standard_deviation(self) -> [f32; 3] {
        match self {
            Self::ImageNet => [0.229, 0.224, 0.225],
            Self::None => [1.0; 3],
        }
    }
}
