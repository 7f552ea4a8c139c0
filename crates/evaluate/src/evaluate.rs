use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use ossify_contract::{
    FileEntry, Gate, Publication, ReportSummary, Split, Summary as _, TableWriter,
};
use ossify_page::counted;
use ossify_settings::{Context, EvaluateSettings, Outcome, StageError};
use ossify_vocabulary::Limits;
use serde_json::json;

use crate::failures::matches::match_image;
use crate::failures::overlays::draw_overlays;
use crate::read::sources::Sources;
use crate::read::split::SplitData;
use crate::report::ci::{self, CheckedGate};
use crate::report::contents::{Parts, Report, WithoutLeaks};
use crate::report::figures::{self, Figure};
use crate::report::page::{self, PageParts};
use crate::report::words;
use crate::scores::bootstrap::Bootstrap;
use crate::scores::bootstrap::{intervals, resampling_units};
use crate::scores::calibration::Fitted;
use crate::scores::scorer::Scorer;

/// Changes where a report of the same inputs gets other files or fields.
const FORMAT: &str = "report 3: detection first";

/// The stage: a report for each split of `evaluate.splits` that has predictions.
///
/// Gates (`evaluate.min_*`) are about the first split that is reported on: accuracy and macro F1
/// over images, balanced accuracy and mean IoU over objects, AP50 and mean FROC of the detection,
/// AUROC of any finding.
///
/// # Errors
/// Fails where there are no tables or predictions, where the predictions belong to other classes or
/// images, and where the disk does.
pub fn run(context: &Context) -> Result<Outcome, StageError> {
    let sources = Sources::resolve(context)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(context.threads())
        .build()
        .context("cannot start threads")?;
    let mut fit = None;
    let (mut splits, mut gates, mut all_current) = (BTreeMap::new(), Vec::new(), true);
    for (i, (split, predictions)) in sources.predictions.iter().enumerate() {
        let folder = context.out.reports().join(&sources.id).join(split.as_str());
        // Gates are about the first split: the same split must run again where it becomes the first
        // one or no longer is.
        let mut fingerprint = context.fingerprint("evaluate", &["general", "evaluate"]);
        fingerprint.add(FORMAT);
        fingerprint.add(if i == 0 { "first" } else { "further" }).add(
            if ossify_storage::is_dir(&context.dataset).unwrap_or(true) {
                "drawn"
            } else {
                "undrawn"
            },
        );
        sources.add_to(&mut fingerprint, *split, predictions)?;
        let fingerprint = fingerprint.finish();
        let current = if context.force {
            None
        } else {
            Publication::current_summary::<ReportSummary>(&folder, &fingerprint)
        };
        let summary = match current {
            Some((_, summary)) => summary,
            None => {
                all_current = false;
                let fit = match &mut fit {
                    Some(fit) => fit,
                    none => none.insert(Fit::of(context, &sources)?),
                };
                let data = match fit.valid.take_if(|_| *split == Split::Valid) {
                    Some(valid) => valid,
                    None => sources.read(context, *split, predictions)?,
                };
                // Where the valid split has no predictions, a detector's thresholds are chosen on
                // the split itself, and the report says so.
                let own = (fit.fitted.is_none() && data.findings.is_detector)
                    .then(|| Fitted::on(&data, &context.settings.evaluate));
                let evaluation = Evaluation {
                    context,
                    sources: &sources,
                    fitted: fit.fitted.as_ref().or(own.as_ref()),
                    split: *split,
                    has_gates: i == 0,
                };
                pool.install(|| evaluation.publish(data, &folder, &fingerprint))?
            }
        };
        context.reporter.say(format_args!("{split}: {}", summary.in_words));
        context
            .reporter
            .say(format_args!("{split}: report in {}", folder.join("report.html").display()));
        gates.extend(summary.gates.iter().cloned());
        splits.insert(*split, summary);
    }
    let summary = json!({ "run": sources.id, "splits": splits, "gates": gates });
    let outcome = if all_current { Outcome::current(summary) } else { Outcome::done(summary) };
    Ok(outcome.with_gates(gates))
}

/// What comes of the valid split, whichever splits are reported on.
#[derive(Default)]
struct Fit {
    /// `None` where it has no predictions with probabilities and none of a detector.
    fitted: Option<Fitted>,
    /// The split itself, until its own report takes it.
    valid: Option<SplitData>,
}

impl Fit {
    fn of(context: &Context, sources: &Sources) -> Result<Self, StageError> {
        let Some(predictions) = &sources.valid else { return Ok(Fit::default()) };
        let data = sources.read(context, Split::Valid, predictions)?;
        let fitted = Fitted::on(&data, &context.settings.evaluate);
        Ok(Fit { fitted: (!fitted.is_empty()).then_some(fitted), valid: Some(data) })
    }
}

/// The evaluation of one split.
struct Evaluation<'a> {
    context: &'a Context,
    sources: &'a Sources,
    fitted: Option<&'a Fitted>,
    split: Split,
    has_gates: bool,
}

impl Evaluation<'_> {
    fn publish(
        &self,
        mut data: SplitData,
        folder: &Path,
        fingerprint: &str,
    ) -> Result<ReportSummary, StageError> {
        let settings = &self.context.settings.evaluate;
        data.excluded.extend(self.sources.left_out_at_import(self.split));
        self.context.reporter.detail(format_args!(
            "{}: {}, {}, {}",
            self.split,
            counted(data.images.len() as u64, "image", "images"),
            counted(data.truths.len() as u64, "object", "objects"),
            counted(data.predictions.len() as u64, "prediction", "predictions")
        ));
        self.sources.check_images(self.context, &data)?;
        let publication = Publication::begin(folder)?;
        let mut files = Vec::new();
        let marked = match self.fitted.and_then(Fitted::operating_point) {
            Some((_, threshold)) if data.findings.is_detector => {
                Cow::Owned(data.from_score(threshold))
            }
            _ => Cow::Borrowed(&data),
        };
        let match_kinds = write_matches(&marked, &publication, &mut files)?;

        let scorer = Scorer::with_fitted(&data, self.fitted);
        let units = resampling_units(&data);
        let bootstrap = Bootstrap {
            samples: settings.bootstrap_samples,
            seed: self.context.seed(),
            confidence: 0.95,
            units: units.1 as u64,
        };
        let scores = intervals(&scorer, &units, bootstrap.samples, bootstrap.seed);
        let without_leaks = without_leaks(&data, self.fitted, bootstrap);
        let parts = Parts {
            run: &self.sources.id,
            data: &data,
            marked: &marked,
            scorer: &scorer,
            fitted: self.fitted,
            scores,
            without_leaks,
            match_kinds,
            bootstrap,
        };
        let mut report = Report::assemble(parts);
        report.limits = words::limits(&report, &data);
        report.limits.extend(self.sources.gaps.iter().cloned());
        let mut text = serde_json::to_string_pretty(&report).context("cannot write report.json")?;
        text.push('\n');
        publication.write("report.json", text.as_bytes())?;
        files.push(publication.describe("report.json", None)?);

        let run = self.sources.run()?;
        let figures = score_figures(&data, &scorer, &report);
        let training = figures::training_figures(&run.metrics);
        for figure in figures.iter().chain(&training) {
            let path = format!("figures/{}.svg", figure.stem);
            publication.write(&path, figure.chart.to_file_text().as_bytes())?;
            files.push(publication.describe(&path, None)?);
        }

        let limits = Limits::from(&self.context.settings.resize);
        let (overlays, undrawn) =
            draw_overlays(&marked, &self.context.dataset, settings.overlays, &limits);
        if let Some(first) = undrawn.first() {
            self.context.reporter.warn(format_args!(
                "{}: {} could not be drawn; the first: {first}",
                self.split,
                counted(undrawn.len() as u64, "image", "images")
            ));
        }
        for overlay in &overlays {
            publication.write(&overlay.file, &overlay.png)?;
            files.push(publication.describe(&overlay.file, None)?);
        }
        let parts = PageParts {
            report: &report,
            marked: &marked,
            sources: self.sources,
            run: &run,
            figures: &figures,
            training: &training,
            overlays: &overlays,
            undrawn: &undrawn,
        };
        publication.write("report.html", page::render(&parts).as_bytes())?;
        files.push(publication.describe("report.html", None)?);

        let checked = if self.has_gates { checked_gates(&report, settings) } else { Vec::new() };
        publication.write("junit.xml", ci::junit(&report, &checked).as_bytes())?;
        publication.write("summary.md", ci::markdown(&report, &checked).as_bytes())?;
        for path in ["junit.xml", "summary.md"] {
            files.push(publication.describe(path, None)?);
        }
        let gates: Vec<Gate> =
            checked.into_iter().filter(|gate| !gate.is_met).map(|checked| checked.gate).collect();
        let summary = summary(report, gates);
        publication.commit("evaluate", fingerprint, files, summary.to_json(folder)?)?;
        Ok(summary)
    }
}

fn write_matches(
    data: &SplitData,
    publication: &Publication,
    files: &mut Vec<FileEntry>,
) -> Result<BTreeMap<&'static str, u64>, StageError> {
    let mut kinds = BTreeMap::new();
    let mut writer = TableWriter::create(publication.stage("matches.parquet")?)?;
    for image in &data.images {
        for row in match_image(data, image) {
            *kinds.entry(row.kind.as_str()).or_insert(0) += 1;
            writer.push(row)?;
        }
    }
    let rows = writer.finish()?;
    files.push(publication.describe("matches.parquet", Some(rows))?);
    Ok(kinds)
}

fn score_figures(data: &SplitData, scorer: &Scorer, report: &Report) -> Vec<Figure> {
    let mut found = vec![
        figures::froc_figure(data, scorer, report),
        figures::precision_recall_figure(data, scorer, report),
        figures::roc_figure(data, scorer, report),
    ];
    if report.findings.is_some() {
        found.extend([
            figures::finding_roc_figure(scorer, report),
            figures::mark_confusion_figure(report),
            figures::found_by_class_figure(data, report),
        ]);
    } else {
        found.extend([
            figures::reliability_figure(scorer),
            figures::confusion_figure(report),
            figures::recall_figure(report),
        ]);
    }
    found.push(figures::kinds_figure(report));
    found
}

/// The scores of the images that no other split shows, where it shows some.
fn without_leaks(
    data: &SplitData,
    fitted: Option<&Fitted>,
    bootstrap: Bootstrap,
) -> Option<WithoutLeaks> {
    let kept = data.only(|image| image.leak_group.is_none());
    if kept.images.len() == data.images.len() {
        return None;
    }
    let scorer = Scorer::with_fitted(&kept, fitted);
    let scores = intervals(&scorer, &resampling_units(&kept), bootstrap.samples, bootstrap.seed);
    Some(WithoutLeaks { majority_share: scorer.majority_share(), scores, data: kept })
}

/// Every gate that is asked for.
fn checked_gates(report: &Report, settings: &EvaluateSettings) -> Vec<CheckedGate> {
    let gates = [
        ("accuracy", "image accuracy", report.image_level.accuracy.value, settings.min_accuracy),
        (
            "balanced_accuracy",
            "balanced accuracy over objects",
            report.objects_level.balanced_accuracy.value,
            settings.min_balanced_accuracy,
        ),
        (
            "macro_f1",
            "macro F1 over images",
            report.image_level.macro_f1.value,
            settings.min_macro_f1,
        ),
        (
            "mean_iou",
            "mean IoU over objects",
            report.objects_level.mean_iou.value,
            settings.min_mean_iou,
        ),
        ("ap50", "AP50", report.detection.scores.ap50.value, settings.min_ap50),
        (
            "froc",
            "mean sensitivity at 1/8 to 8 false alarms an image",
            report.detection.froc.any_class.mean.value,
            settings.min_froc,
        ),
        (
            "finding_auroc",
            "AUROC of any finding",
            report.findings.as_ref().map_or(f64::NAN, |findings| findings.auroc.value),
            settings.min_finding_auroc,
        ),
    ];
    let check = |(key, words, figure, limit): (&str, &str, f64, f64)| {
        // A score that is not defined meets no limit; it is reported as 0, because JSON has no NaN.
        let is_met = figure >= limit;
        let message = if figure.is_nan() {
            format!(
                "the {words} on the {} split is not defined, and {limit} is asked for",
                report.split
            )
        } else {
            format!(
                "the {words} on the {} split is {figure:.4}, {} {limit}",
                report.split,
                if is_met { "not below" } else { "below" }
            )
        };
        CheckedGate {
            is_met,
            gate: Gate {
                name: format!("evaluate.min_{key}"),
                figure: if figure.is_nan() { 0.0 } else { figure },
                limit,
                message,
            },
        }
    };
    gates.into_iter().filter(|(_, _, _, limit)| *limit > 0.0).map(check).collect()
}

fn summary(report: Report, gates: Vec<Gate>) -> ReportSummary {
    ReportSummary {
        images: report.images,
        labelled_images: report.counts.labelled_images,
        objects: report.objects,
        predictions: report.counts.predictions,
        image_accuracy: report.image_level.accuracy,
        object_accuracy: report.objects_level.accuracy,
        balanced_accuracy: report.objects_level.balanced_accuracy,
        macro_f1: report.image_level.macro_f1,
        mean_iou: report.objects_level.mean_iou,
        ap: report.detection.scores.ap,
        ap50: report.detection.scores.ap50,
        froc: report.detection.froc.any_class.mean,
        finding_auroc: report.findings.as_ref().map(|findings| findings.auroc),
        in_words: words::lead(&report).join(" "),
        excluded: report.excluded,
        gates,
    }
}
