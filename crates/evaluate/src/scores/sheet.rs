//! The scores of a split, as figures or as figures with intervals.

use serde::Serialize;

/// Declares a group of scores that can be figures of one resample, or figures with intervals.
macro_rules! score_group {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Serialize)]
        pub struct $name<T> { $($(#[$field_meta])* pub $field: T,)* }

        impl<T> $name<T> {
            /// The same group with each score turned into another thing, in order of declaration.
            pub fn map<U>(&self, mut turn: impl FnMut(&T) -> U) -> $name<U> {
                $name { $($field: turn(&self.$field),)* }
            }
        }
    };
}

score_group! {
    /// Over every object of the split, its image's first prediction against it. An object of an
    /// image without a prediction counts as wrong, with an IoU of 0.
    ObjectScores {
        /// Share of objects whose class was predicted.
        accuracy,
        /// Mean recall of the classes that have objects.
        balanced_accuracy,
        /// Mean F1 of the classes that have objects or predictions.
        macro_f1,
        /// Mean squared error of the four edges, shares of the image; over objects whose image has
        /// a prediction.
        box_mse,
        /// Mean IoU of predicted and true box.
        mean_iou,
        /// Share of objects with an IoU of at least 0.5.
        iou50_rate,
    }
}

score_group! {
    /// Over labelled images, the first prediction against the largest object.
    ImageScores {
        /// Share of images whose class was predicted.
        accuracy,
        /// Share of images whose class is among the two most probable.
        top2_accuracy,
        /// Mean F1 of the classes that have images or predictions.
        macro_f1,
        /// Mean area under the ROC curve, each class against the rest, of the classes that have
        /// both.
        macro_auroc,
        /// Mean negative log probability of the true class, nats, probabilities clipped to 2^-52
        /// ..= 1 - 2^-52.
        log_loss,
        /// Mean squared distance of the probabilities from the truth, summed over classes (Brier,
        /// 1950): 0..=2.
        brier,
        /// Expected calibration error (Guo et al., 2017), 15 bins of equal width.
        ece,
    }
}

score_group! {
    /// Over labelled images, after temperature scaling; NaN where no temperature was fitted.
    ScaledScores {
        /// As [`ImageScores::log_loss`].
        log_loss,
        /// As [`ImageScores::brier`].
        brier,
        /// As [`ImageScores::ece`].
        ece,
    }
}

score_group! {
    /// What a class's threshold gives over labelled images that have probabilities or, of a
    /// detector, over all images.
    OperatingScores {
        /// Share of the class's images with a yes (recall).
        sensitivity,
        /// Share of the other images with a no.
        specificity,
    }
}

score_group! {
    /// The COCO protocol over all scored images, backgrounds included; means over classes that have
    /// objects.
    DetectionScores {
        /// Mean over IoU thresholds .50 to .95.
        ap,
        /// At IoU .50.
        ap50,
        /// At IoU .75.
        ap75,
        /// Average recall with one detection an image.
        ar1,
        /// Average recall with ten.
        ar10,
        /// Average recall with a hundred.
        ar100,
    }
}

score_group! {
    /// Sensitivity over objects on the FROC curve (Chakraborty, 1989): the share that a threshold
    /// finds which gives at most so many false alarms an image, over all scored images.
    FrocScores {
        /// Mean of the seven others: the score of LUNA16 (Setio et al., 2017).
        mean,
        /// At 1/8 false alarm an image.
        at_eighth,
        /// At 1/4.
        at_quarter,
        /// At 1/2.
        at_half,
        /// At 1.
        at_1,
        /// At 2.
        at_2,
        /// At 4.
        at_4,
        /// At 8.
        at_8,
    }
}

score_group! {
    /// How well images with an object are told from those without; NaN where the predictions say
    /// nothing of whole images.
    FindingScores {
        /// Chance that an image with an object has a higher score than one without.
        auroc,
    }
}

score_group! {
    /// What a threshold for the score of any finding gives.
    FindingPointScores {
        /// Share of the images with an object that have a yes.
        sensitivity,
        /// Share of the images without one that have a no.
        specificity,
        /// Share of the objects that a mark of at least this score hits, whatever its class.
        objects_found,
        /// False alarms an image, over all scored images.
        false_alarms,
    }
}

score_group! {
    /// Scores of one class: precision, recall, F1 and IoU over objects, AUROC over images.
    ScoresOfClass {
        /// Share of predictions of the class that are right.
        precision,
        /// Share of objects of the class that are found.
        recall,
        /// Harmonic mean of the two.
        f1,
        /// Area under the ROC curve of the class against the rest: labelled images by probability
        /// or, of a detector, all images by the class's score.
        auroc,
        /// Mean IoU over objects of the class.
        mean_iou,
    }
}

score_group! {
    /// Detection scores of one class; NaN where it has no object.
    DetectionOfClass {
        /// Mean over IoU thresholds .50 to .95.
        ap,
        /// At IoU .50.
        ap50,
        /// At IoU .75.
        ap75,
        /// Average recall with one detection an image.
        ar1,
        /// Mean sensitivity on the FROC curve of the class's own objects and marks.
        froc,
    }
}

/// All scores of a split. NaN is "not defined here".
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreSheet<T> {
    /// Over objects.
    pub objects: ObjectScores<T>,
    /// Over images.
    pub images: ImageScores<T>,
    /// Over images after temperature scaling.
    pub scaled: ScaledScores<T>,
    /// Detection.
    pub detection: DetectionScores<T>,
    /// FROC, whatever the classes, with an IoU of at least 0.5.
    pub froc: FrocScores<T>,
    /// The same where a mark hits an object by its centre.
    pub froc_centre: FrocScores<T>,
    /// The same as the first where a mark hits objects of its own class only.
    pub froc_same_class: FrocScores<T>,
    /// Any finding by image.
    pub findings: FindingScores<T>,
    /// What thresholds for any finding give; empty where nothing was fitted.
    pub finding_points: Vec<FindingPointScores<T>>,
    /// By class.
    pub per_class: Vec<ScoresOfClass<T>>,
    /// Detection by class.
    pub detection_per_class: Vec<DetectionOfClass<T>>,
    /// `operating[class][rule]` for each rule by which a threshold was chosen; empty where nothing
    /// was fitted.
    pub operating: Vec<Vec<OperatingScores<T>>>,
}

impl<T> ScoreSheet<T> {
    /// The same sheet with each score turned into another thing, always in the same order.
    pub fn map<U>(&self, mut turn: impl FnMut(&T) -> U) -> ScoreSheet<U> {
        ScoreSheet {
            objects: self.objects.map(&mut turn),
            images: self.images.map(&mut turn),
            scaled: self.scaled.map(&mut turn),
            detection: self.detection.map(&mut turn),
            froc: self.froc.map(&mut turn),
            froc_centre: self.froc_centre.map(&mut turn),
            froc_same_class: self.froc_same_class.map(&mut turn),
            findings: self.findings.map(&mut turn),
            finding_points: self.finding_points.iter().map(|point| point.map(&mut turn)).collect(),
            per_class: self.per_class.iter().map(|class| class.map(&mut turn)).collect(),
            detection_per_class: self
                .detection_per_class
                .iter()
                .map(|class| class.map(&mut turn))
                .collect(),
            operating: self
                .operating
                .iter()
                .map(|class| class.iter().map(|point| point.map(&mut turn)).collect())
                .collect(),
        }
    }
}
