//! A report's figures as sentences.

use ossify_contract::ImageStatus;
use ossify_page::{count, counted, percent};

use crate::read::split::{SplitData, first_of};
use crate::report::contents::{FindingsReport, FrocReport, Report};
use crate::report::digits::{three_digits, two, value, with_interval};
use crate::scores::bootstrap::Interval;
use crate::scores::calibration::OperatingRule;
use crate::scores::sheet::{DetectionScores, ImageScores, ObjectScores};

/// Objects of a class below which its scores mean little.
const FEW_OBJECTS: u64 = 20;

/// What a reader should know first. Where images are also in another split, the scores without
/// them come first.
pub(crate) fn lead(report: &Report) -> Vec<String> {
    if report.images == 0 {
        return vec![format!(
            "The {} split has no image that could be scored, so no score is defined.",
            report.split
        )];
    }
    if report.counts.predictions == 0 && report.findings.is_none() {
        return vec![format!(
            "The predictions table has no prediction for the {} of the {} split: nothing was \
                predicted, so nothing was found, and the shares are 0. Scores that need a \
                prediction are not defined.",
            counted(report.images, "image", "images"),
            report.split
        )];
    }
    let all = View::of(report);
    let Some(kept) = View::without_leaks(report) else { return all.sentences(&report.split) };
    let mut sentences = vec![format!(
        "Without the {} that {} a picture of another split, which {} the model:",
        counted(report.images - kept.images, "image", "images"),
        if report.images - kept.images == 1 { "shows" } else { "show" },
        if report.images - kept.images == 1 { "flatters" } else { "flatter" },
    )];
    sentences.extend(kept.sentences(&report.split));
    sentences.push(format!(
        "With {} the AP50 is {}.",
        if report.images - kept.images == 1 { "it" } else { "them" },
        with_interval(&report.detection.scores.ap50)
    ));
    sentences
}

/// The scores of all images, or of those that are in this split alone.
pub(crate) struct View<'a> {
    pub images: u64,
    pub labelled_images: u64,
    pub objects: u64,
    pub majority_share: f64,
    pub objects_level: &'a ObjectScores<Interval>,
    pub image_level: &'a ImageScores<Interval>,
    pub detection: &'a DetectionScores<Interval>,
    pub froc: &'a FrocReport,
    pub findings: Option<&'a FindingsReport>,
}

impl<'a> View<'a> {
    fn of(report: &'a Report) -> Self {
        View {
            images: report.images,
            labelled_images: report.counts.labelled_images,
            objects: report.objects,
            majority_share: report.counts.majority_share,
            objects_level: &report.objects_level,
            image_level: &report.image_level,
            detection: &report.detection.scores,
            froc: &report.detection.froc,
            findings: report.findings.as_ref(),
        }
    }

    /// `None` where no image is in a leak, or where all are.
    fn without_leaks(report: &'a Report) -> Option<Self> {
        let kept = report.without_leaked_images.as_ref().filter(|kept| kept.images > 0)?;
        Some(View {
            images: kept.images,
            labelled_images: kept.labelled_images,
            objects: kept.objects,
            majority_share: kept.majority_share,
            objects_level: &kept.objects_level,
            image_level: &kept.image_level,
            detection: &kept.detection,
            froc: &kept.froc,
            findings: kept.findings.as_ref(),
        })
    }

    /// The scores that a report tells first: those without leaks where there are some.
    pub(crate) fn first(report: &'a Report) -> Self {
        View::without_leaks(report).unwrap_or_else(|| View::of(report))
    }

    fn sentences(&self, split: &str) -> Vec<String> {
        match self.findings {
            Some(findings) => self.detector_sentences(findings, split),
            None => self.classifier_sentences(split),
        }
    }

    fn detector_sentences(&self, findings: &FindingsReport, split: &str) -> Vec<String> {
        let mut sentences = Vec::new();
        let objects = counted(self.objects, "object", "objects");
        let images = counted(self.images, "image", "images");
        if let Some(point) = findings.first_point() {
            let scores = &point.scores;
            let number = |share: f64, of: u64| count((share * of as f64).round() as u64);
            let alarms = (scores.false_alarms.value * self.images as f64).round() as u64;
            let alarms = format!(
                "{} on {images}, {} an image",
                counted(alarms, "false alarm", "false alarms"),
                with_interval(&scores.false_alarms)
            );
            sentences.push(if self.objects == 0 {
                format!("On the {split} split, which has no objects, the detector gives {alarms}.")
            } else {
                format!(
                    "On the {split} split the detector finds {} of {objects}, {}, with {alarms}.",
                    number(scores.objects_found.value, self.objects),
                    with_interval(&scores.objects_found),
                )
            });
            let own = if findings.chosen_on == split {
                ", these very images, which flatters it a little"
            } else {
                ""
            };
            sentences.push(format!(
                "That is with boxes of a score of at least {}, {} on the {} split{own}.",
                three_digits(f64::from(point.threshold)),
                chosen_in_words(point.rule),
                findings.chosen_on
            ));
            if findings.images_with > 0 && findings.images_without > 0 {
                sentences.push(format!(
                    "Of the {} with an object {} have such a box (sensitivity), and of the {} \
                     without one {} have none (specificity). The highest scores of the images \
                     separate the two with an AUROC of {}.",
                    counted(findings.images_with, "image", "images"),
                    with_interval(&scores.sensitivity),
                    count(findings.images_without),
                    with_interval(&scores.specificity),
                    with_interval(&findings.auroc)
                ));
            }
        }
        if self.objects > 0 {
            let froc = &self.froc.any_class;
            sentences.push(format!(
                "At 1/8, 1 and 4 false alarms an image it finds {}, {} and {} of the objects; the \
                 mean over 1/8 to 8 is {}.",
                value(&froc.at_eighth),
                value(&froc.at_1),
                value(&froc.at_4),
                with_interval(&froc.mean)
            ));
            sentences.push(format!(
                "Class and box together, it reaches AP50 {} and AP {}.",
                with_interval(&self.detection.ap50),
                with_interval(&self.detection.ap)
            ));
        }
        sentences
    }

    fn classifier_sentences(&self, split: &str) -> Vec<String> {
        let mut sentences = Vec::new();
        if self.labelled_images > 0 {
            sentences.push(format!(
                "On {} labelled {} of the {split} split the model names the right class in {} of \
                    them; always answering the most frequent class would be right in {}.",
                count(self.labelled_images),
                if self.labelled_images == 1 { "image" } else { "images" },
                with_interval(&self.image_level.accuracy),
                two(self.majority_share),
            ));
        }
        if self.objects > 0 {
            sentences.push(format!(
                "Its first box reaches an IoU of at least 0.5 with {} of the {}; the mean IoU is \
                    {}.",
                with_interval(&self.objects_level.iou50_rate),
                counted(self.objects, "object", "objects"),
                with_interval(&self.objects_level.mean_iou),
            ));
            sentences.push(format!(
                "As a detector, class and box together over all {}, it reaches AP50 {} and AP {}.",
                counted(self.images, "image", "images"),
                with_interval(&self.detection.ap50),
                with_interval(&self.detection.ap),
            ));
        }
        sentences
    }
}

/// How a threshold was chosen, in a few words.
pub(crate) fn rule_in_words(rule: OperatingRule) -> String {
    match rule {
        OperatingRule::Youden => "best separation".into(),
        OperatingRule::Sensitivity(wanted) => format!("sensitivity {}", percent(wanted)),
        OperatingRule::Specificity(wanted) => format!("specificity {}", percent(wanted)),
        OperatingRule::FalseAlarms(rate) => format!("false alarms an image: {rate}"),
    }
}

/// The same as the middle of a sentence.
fn chosen_in_words(rule: OperatingRule) -> String {
    match rule {
        OperatingRule::Youden => {
            "the threshold with the largest sum of sensitivity and specificity".into()
        }
        OperatingRule::Sensitivity(wanted) => {
            format!("the highest threshold with a sensitivity of {}", percent(wanted))
        }
        OperatingRule::Specificity(wanted) => {
            format!("the lowest threshold with a specificity of {}", percent(wanted))
        }
        OperatingRule::FalseAlarms(rate) => {
            let noun = if rate == 1.0 { "false alarm" } else { "false alarms" };
            format!("the lowest threshold with at most {rate} {noun} an image")
        }
    }
}

/// What the figures do not show, and what to keep in mind when reading them.
pub(crate) fn limits(report: &Report, data: &SplitData) -> Vec<String> {
    let mut limits = vec![
        "The intervals say how far the scores would move with other images of the same source. \
            They say nothing of other hospitals, devices or patients, and nothing of labels that \
            are wrong."
            .to_owned(),
    ];
    if report.split == "valid" {
        limits.push(
            "The valid split may have steered the training, such as when it stopped and which \
                checkpoint was kept; its scores flatter the model a little."
                .into(),
        );
    } else if report.split == "train" {
        limits.push(
            "The model was trained on these images: the scores say how well it remembers \
            them, not how well it works."
                .into(),
        );
    }
    limits.push(match report.counts.leaked_images {
        None => "Whether images of this split are also in another one was not checked (there \
            is no fingerprints.parquet; ossify-resize writes it); if they are, the scores flatter \
            the model. Scores by brightness and contrast are left out for the same reason."
            .into(),
        Some(0) => "No image of this split shows a picture that another split has too.".into(),
        Some(leaked) => format!(
            "{} of the {} {} a picture that another split has too; scores on {} flatter the model. \
             Images of one picture were resampled together.",
            count(leaked),
            counted(report.images, "image", "images"),
            if leaked == 1 { "shows" } else { "show" },
            if leaked == 1 { "it" } else { "them" },
        ),
    });
    let background = ImageStatus::Background.as_str();
    let backgrounds = report.counts.images_by_status.get(background).copied().unwrap_or(0);
    if report.counts.predicted_backgrounds > 0 {
        limits.push(format!(
            "On {} of the {}, where the labeller saw nothing to mark, the model predicts an object \
             all the same; {}",
            count(report.counts.predicted_backgrounds),
            counted(backgrounds, "background image", "background images"),
            if report.findings.is_some() {
                "each is a false alarm."
            } else {
                "each is a false alarm in AP and no matter to the other scores."
            }
        ));
    }
    let one_each = data.images.iter().all(|image| image.predictions.len() <= 1);
    let shared = report.objects - report.counts.labelled_images.min(report.objects);
    if one_each && report.findings.is_none() && shared > 0 && report.counts.predictions > 0 {
        limits.push(format!(
            "{} {} image with a larger one, and a model that predicts one object an image cannot \
             find {} as well.",
            counted(shared, "object", "objects"),
            if shared == 1 { "shares its" } else { "share their" },
            if shared == 1 { "it" } else { "them" }
        ));
    }
    let few = report.per_class.iter().filter(|class| class.support < FEW_OBJECTS);
    let few = few.map(|class| format!("{} ({})", class.class_name, class.support));
    let few = first_of(few.collect());
    if !few.is_empty() {
        limits.push(format!(
            "Classes with fewer than {FEW_OBJECTS} objects, whose scores mean little: {}.",
            few
        ));
    }
    limits
}
