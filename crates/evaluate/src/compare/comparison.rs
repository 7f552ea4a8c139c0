use ossify_contract::{Gate, SCHEMA_VERSION};
use ossify_vocabulary::Task;
use serde::Serialize;

use crate::compare::changes::{ConfusionChange, ImageChanges, confusion_changes, image_changes};
use crate::read::split::SplitData;
use crate::scores::bootstrap::Bootstrap;
use crate::scores::bootstrap::{Difference, Interval, PairedScores};
use crate::scores::confusion::{ClassCounts, Confusion};
use crate::scores::scorer::Scorer;
use crate::scores::sheet::{
    DetectionOfClass, DetectionScores, FindingScores, FrocScores, ImageScores, ObjectScores,
    ScoreSheet, ScoresOfClass,
};

/// `compare.json`: several predictions tables over the same images of a split.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Version of the artefacts' schemas.
    pub schema_version: u32,
    /// Version of the program.
    pub ossify_version: &'static str,
    /// The split.
    pub split: String,
    /// Whether a table is a detector's: the scores of any number of boxes an image come first.
    pub task: Task,
    /// Images that are scored: readable, and labelled or background.
    pub images: u64,
    /// Labelled images with an object of a trained class: those of the image level.
    pub labelled_images: u64,
    /// Objects that are scored.
    pub objects: u64,
    /// The tables with their own scores, the baseline first.
    pub tables: Vec<ComparedTable>,
    /// Each other table against the baseline.
    pub comparisons: Vec<AgainstBaseline>,
    /// Margins of `evaluate.max_drop` that were not kept.
    pub gates: Vec<Gate>,
    /// How the intervals were made.
    pub bootstrap: Bootstrap,
}

/// A table with its own scores.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparedTable {
    /// Its name, which no other table has.
    pub name: String,
    /// Its predictions that are scored.
    pub predictions: u64,
    /// Labelled images that it has no prediction for; they count as wrong.
    pub silent_images: u64,
    /// Its scores, those of its report.
    #[serde(flatten)]
    pub scores: Levels<Interval>,
}

/// A table against the baseline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgainstBaseline {
    /// The table.
    pub name: String,
    /// Whether its predictions are those of the baseline.
    pub is_same: bool,
    /// Its scores less those of the baseline, over the same resamples.
    #[serde(flatten)]
    pub differences: Levels<Difference>,
    /// What became of the images.
    pub images: ImageChanges,
    /// Pairs of classes that are confused more often, and at the end those that are confused less
    /// often.
    pub confusions: Vec<ConfusionChange>,
    /// The verdict, sentence by sentence.
    pub in_words: Vec<String>,
}

/// Scores, or differences of scores, at all levels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Levels<T> {
    /// Over objects.
    pub objects_level: ObjectScores<T>,
    /// Over labelled images.
    pub image_level: ImageScores<T>,
    /// The COCO protocol.
    pub detection: DetectionScores<T>,
    /// Sensitivity over objects against false alarms an image, whatever the classes.
    pub froc: FrocScores<T>,
    /// Any finding by image.
    pub findings: FindingScores<T>,
    /// By class.
    pub per_class: Vec<ClassLevels<T>>,
}

/// Scores, or differences of scores, of a class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassLevels<T> {
    /// The class.
    pub class_name: String,
    /// Its objects.
    pub support: u64,
    /// Over objects and images.
    #[serde(flatten)]
    pub scores: ScoresOfClass<T>,
    /// The COCO protocol.
    pub detection: DetectionOfClass<T>,
}

/// A score that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScoreName {
    /// What it is over: `images`, `objects`, `detection`, `froc` or `findings`.
    pub level: &'static str,
    /// As in JSON.
    pub key: &'static str,
    /// As people say.
    pub words: &'static str,
    /// Whether a smaller one is better, and its size is not that of a share.
    pub is_loss: bool,
}

const fn score(level: &'static str, key: &'static str, words: &'static str) -> ScoreName {
    ScoreName { level, key, words, is_loss: false }
}

const fn loss(level: &'static str, key: &'static str, words: &'static str) -> ScoreName {
    ScoreName { level, key, words, is_loss: true }
}

/// Names of the scores in the order of [`Levels::scores`].
const SCORE_NAMES: [ScoreName; 28] = [
    score("images", "accuracy", "accuracy"),
    score("images", "top2_accuracy", "top-2 accuracy"),
    score("images", "macro_f1", "macro F1"),
    score("images", "macro_auroc", "macro AUROC"),
    loss("images", "log_loss", "log loss"),
    loss("images", "brier", "Brier score"),
    loss("images", "ece", "calibration error"),
    score("objects", "accuracy", "accuracy"),
    score("objects", "balanced_accuracy", "balanced accuracy"),
    score("objects", "macro_f1", "macro F1"),
    loss("objects", "box_mse", "box error (MSE)"),
    score("objects", "mean_iou", "mean IoU"),
    score("objects", "iou50_rate", "IoU ≥ 0.5"),
    score("detection", "ap", "AP"),
    score("detection", "ap50", "AP50"),
    score("detection", "ap75", "AP75"),
    score("detection", "ar1", "AR1"),
    score("detection", "ar10", "AR10"),
    score("detection", "ar100", "AR100"),
    score("froc", "mean", "mean FROC"),
    score("froc", "at_eighth", "found at 1/8 false alarm an image"),
    score("froc", "at_quarter", "found at 1/4 false alarm an image"),
    score("froc", "at_half", "found at 1/2 false alarm an image"),
    score("froc", "at_1", "found at 1 false alarm an image"),
    score("froc", "at_2", "found at 2 false alarms an image"),
    score("froc", "at_4", "found at 4 false alarms an image"),
    score("froc", "at_8", "found at 8 false alarms an image"),
    score("findings", "auroc", "AUROC of any finding"),
];

impl<T: Copy> Levels<T> {
    fn new(sheet: ScoreSheet<T>, data: &SplitData, counts: &ClassCounts) -> Self {
        let classes =
            data.class_names.iter().zip(sheet.per_class).zip(sheet.detection_per_class).enumerate();
        let per_class = classes.map(|(class, ((name, scores), detection))| ClassLevels {
            class_name: name.clone(),
            support: counts.support(class),
            scores,
            detection,
        });
        Levels {
            per_class: per_class.collect(),
            objects_level: sheet.objects,
            image_level: sheet.images,
            detection: sheet.detection,
            froc: sheet.froc,
            findings: sheet.findings,
        }
    }

    /// All scores but those of single classes, with their names.
    pub(crate) fn scores(&self) -> Vec<(ScoreName, T)> {
        let mut found = Vec::with_capacity(SCORE_NAMES.len());
        self.image_level.map(|score| found.push(*score));
        self.objects_level.map(|score| found.push(*score));
        self.detection.map(|score| found.push(*score));
        self.froc.map(|score| found.push(*score));
        self.findings.map(|score| found.push(*score));
        SCORE_NAMES.into_iter().zip(found).collect()
    }

    /// The scores that `evaluate.max_drop` has margins for, of detectors or of classifiers, with
    /// the names of their keys and what people call them.
    pub(crate) fn headlines(&self, task: Task) -> Vec<(&'static str, &'static str, T)> {
        let ap50 = ("ap50", "AP50", self.detection.ap50);
        match task {
            Task::Classify => vec![
                ("accuracy", "image accuracy", self.image_level.accuracy),
                ("macro_f1", "macro F1 over images", self.image_level.macro_f1),
                ("mean_iou", "mean IoU over objects", self.objects_level.mean_iou),
                ap50,
            ],
            Task::Detect => vec![
                ap50,
                ("froc", "mean FROC", self.froc.mean),
                ("finding_auroc", "AUROC of any finding", self.findings.auroc),
            ],
        }
    }
}

impl Comparison {
    /// Everything but gates and words; names, data and scorers are those of the tables, the
    /// baseline first.
    pub(crate) fn assemble(
        names: &[&str],
        data: &[SplitData],
        scorers: &[Scorer],
        paired: PairedScores,
        bootstrap: Bootstrap,
    ) -> Self {
        let every = vec![1; data[0].images.len()];
        let confusions: Vec<Confusion> = scorers.iter().map(Scorer::confusion).collect();
        let counts = scorers[0].class_counts(&every);
        let tables =
            names.iter().zip(data).zip(paired.scores).map(|((name, data), scores)| ComparedTable {
                name: (*name).to_owned(),
                predictions: data.predictions.len() as u64,
                silent_images: data
                    .images
                    .iter()
                    .filter(|image| !image.truths.is_empty() && image.predictions.is_empty())
                    .count() as u64,
                scores: Levels::new(scores, data, &counts),
            });
        let comparisons = paired.differences.into_iter().enumerate().map(|(at, differences)| {
            let other = at + 1;
            AgainstBaseline {
                name: names[other].to_owned(),
                is_same: is_same(&data[0], &data[other]),
                differences: Levels::new(differences, &data[other], &counts),
                images: image_changes(&data[0], &data[other]),
                confusions: confusion_changes(
                    [&data[0], &data[other]],
                    [&confusions[0], &confusions[other]],
                ),
                in_words: Vec::new(),
            }
        });
        Comparison {
            schema_version: SCHEMA_VERSION,
            ossify_version: env!("CARGO_PKG_VERSION"),
            split: data[0].split.to_string(),
            task: if data.iter().any(|data| data.findings.is_detector) {
                Task::Detect
            } else {
                Task::Classify
            },
            images: data[0].images.len() as u64,
            labelled_images: scorers[0].labelled_images() as u64,
            objects: data[0].truths.len() as u64,
            tables: tables.collect(),
            comparisons: comparisons.collect(),
            gates: Vec::new(),
            bootstrap,
        }
    }

    /// The table that the others are compared with.
    pub(crate) fn baseline(&self) -> &ComparedTable {
        &self.tables[0]
    }
}

/// Whether two tables hold the same predictions.
fn is_same(a: &SplitData, b: &SplitData) -> bool {
    // NaN stands for "no probabilities", which is the same in both.
    a.images
        .iter()
        .zip(&b.images)
        .all(|(of_a, of_b)| a.predictions_of(of_a) == b.predictions_of(of_b))
        && a.probabilities
            .iter()
            .map(|p| p.to_bits())
            .eq(b.probabilities.iter().map(|p| p.to_bits()))
        && a.findings.any.iter().chain(&a.findings.of_class).map(|score| score.to_bits()).eq(b
            .findings
            .any
            .iter()
            .chain(&b.findings.of_class)
            .map(|score| score.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_the_order_of_the_scores() {
        let number = 0.0f64;
        let objects = ObjectScores {
            accuracy: number,
            balanced_accuracy: number,
            macro_f1: number,
            box_mse: number,
            mean_iou: number,
            iou50_rate: number,
        };
        let images = ImageScores {
            accuracy: number,
            top2_accuracy: number,
            macro_f1: number,
            macro_auroc: number,
            log_loss: number,
            brier: number,
            ece: number,
        };
        let detection = DetectionScores {
            ap: number,
            ap50: number,
            ap75: number,
            ar1: number,
            ar10: number,
            ar100: number,
        };
        let froc = FrocScores {
            mean: number,
            at_eighth: number,
            at_quarter: number,
            at_half: number,
            at_1: number,
            at_2: number,
            at_4: number,
            at_8: number,
        };
        let findings = FindingScores { auroc: number };
        let texts = [
            ("images", serde_json::to_string(&images)),
            ("objects", serde_json::to_string(&objects)),
            ("detection", serde_json::to_string(&detection)),
            ("froc", serde_json::to_string(&froc)),
            ("findings", serde_json::to_string(&findings)),
        ];
        let mut keys = Vec::new();
        for (level, text) in texts {
            let text = text.unwrap();
            keys.extend(
                text.trim_matches(['{', '}'])
                    .split(',')
                    .map(|field| (level, field.split('"').nth(1).unwrap().to_owned())),
            );
        }
        assert_eq!(keys, SCORE_NAMES.map(|name| (name.level, name.key.to_owned())));
        let levels = Levels {
            objects_level: objects,
            image_level: images,
            detection,
            froc,
            findings,
            per_class: Vec::new(),
        };
        assert_eq!(levels.scores().len(), SCORE_NAMES.len());
    }
}
