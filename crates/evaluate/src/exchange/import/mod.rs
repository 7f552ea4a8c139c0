//! Predictions of other tools become a predictions table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use ossify_contract::{
    ArtefactError, ClassMap, FileEntry, Fingerprint, Gate, ImagePredictionRow, ImportedSplit,
    LeftOutRows, Manifest, PredictionRow, PredictionsSummary, Publication, Split, Summary as _,
    TableWriter, hash_file, image_predictions_file, is_plain_id, predictions_file,
};
use ossify_page::counted;
use ossify_settings::{Context, Outcome, StageError};

mod categories;
mod coco;
mod error;
mod json;
mod names;
mod rows;
mod yolo;

pub use categories::CategoryIds;
pub use error::ImportError;

use crate::exchange::import::categories::Classes;
use crate::exchange::import::coco::{GroundTruth, Ids};
use crate::exchange::import::names::ImageNames;
use crate::exchange::import::rows::Imported;
use crate::read::sources::verified_tables;

/// Stage in the manifest of imported predictions.
const STAGE: &str = "import";

/// What the foreign predictions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ImportFormat {
    /// COCO results: a JSON list of {"image_id", "category_id", "bbox": [x, y, width, height] in
    /// pixels, "score"}
    Coco,
    /// A folder of .txt files, one an image, with lines of class, x centre, y centre, width, height
    /// (shares of the image) and confidence, the class as in the dataset's data.yaml
    Yolo,
    /// predictions.json as `yolo val save_json=True` writes it
    Ultralytics,
}

/// The command line of an import.
#[derive(clap::Args, Clone, Debug)]
pub struct ImportArgs {
    /// The file to import; with --format yolo a folder
    pub path: PathBuf,
    /// Format of the file or folder
    #[arg(long, value_enum)]
    pub format: ImportFormat,
    /// The split that was predicted: train, valid or test
    #[arg(long)]
    pub split: Split,
    /// Name of the predictions, for --set evaluate.predictions=NAME
    #[arg(long, value_name = "NAME", value_parser = parse_id)]
    pub id: String,
    /// The COCO ground truth that belongs to COCO results; images are matched by file name, classes
    /// by name
    ///
    /// Without it an image_id is a path, a file name or a stem, or as a number the stem that has
    /// these digits, and --category-ids says what a category_id is.
    #[arg(long, value_name = "FILE", conflicts_with = "category_ids")]
    pub ground_truth: Option<PathBuf>,
    /// How a JSON file numbers its classes, where its ids leave that open
    ///
    /// Without it and without a ground truth the ids decide: where 0 is among them, classes are
    /// counted from 0 as in data.yaml; where the number of classes is among them, or where
    /// Ultralytics wrote file_name next to image_id, from 1; where a dataset of 80 classes has ids
    /// above 80, they are COCO's. Ids that leave it open are refused.
    #[arg(long, value_enum, value_name = "NUMBERING")]
    pub category_ids: Option<CategoryIds>,
}

/// An id that `evaluate.predictions` takes for one.
fn parse_id(id: &str) -> Result<String, String> {
    let is_spelt_well =
        id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if !is_plain_id(id) || !is_spelt_well {
        return Err(
            "a name has letters, digits, `.`, `_` and `-`, and does not begin with a dot".into()
        );
    }
    if id == "latest" || id.ends_with(".parquet") {
        return Err(
            "evaluate.predictions understands that as something else; choose another name".into()
        );
    }
    Ok(id.to_owned())
}

/// Reads foreign predictions of a split and publishes them as `predictions/<id>/<split>.parquet`,
/// next to other splits that were imported under the same id.
///
/// Boxes become shares of the image and are not cut at its edges, as pycocotools does not cut them;
/// ranks are by falling score within an image, ties in order of appearance; there are no
/// probabilities. Rows that cannot be used are counted in the manifest's summary with reason and
/// example, and the report lists them as excluded. An image without a prediction needs no row:
/// evaluate counts its objects as missed. Where the source says which images it looked at (a COCO
/// ground truth does, and a YOLO folder with a file without lines), `<split>.images.parquet` lists
/// them, and an image that is in neither is a gap.
///
/// # Errors
/// [`StageError::Usage`] where the command line does not fit, [`ImportError`] for the rest.
pub fn import(context: &Context, args: &ImportArgs) -> Result<Outcome, StageError> {
    check_usage(context, args)?;
    let tables = verified_tables(context)?;
    let folder = context.out.predictions().join(&args.id);
    let text_files =
        if args.format == ImportFormat::Yolo { yolo::text_files(&args.path)? } else { Vec::new() };
    let inputs = fingerprint(context, args, &tables, &text_files)?;
    let written = Manifest::read(&folder).ok().flatten();
    if let Some(manifest) = written.filter(|manifest| manifest.stage != STAGE) {
        return Err(StageError::Usage(anyhow!(
            "the predictions `{}` were written by ossify-{}; choose another --id",
            args.id,
            manifest.stage
        )));
    }
    if !context.force
        && let Ok(manifest) = Manifest::require_whole(&folder, "")
        && manifest
            .file(&predictions_file(args.split.as_str()))
            .and_then(|file| file.inputs.as_ref())
            == Some(&inputs)
    {
        let summary: PredictionsSummary = manifest.summary_of(&folder)?;
        let gate = strict_gate(context, args, &summary);
        return Ok(Outcome::current(manifest.summary).with_gates(gate));
    }

    let class_map = ClassMap::read(context.out.tables().join("classes.parquet"))?;
    let names = ImageNames::read(&context.out.tables().join("images.parquet"), args.split)?;
    let classes = Classes::new(&class_map);
    let imported = read(args, &text_files, &names, &classes)?;
    let left_out = imported.left_out();
    if imported.rows.is_empty() && imported.entries > 0 {
        let reasons = left_out.iter().map(in_words).collect();
        return Err(ImportError::NothingUsable {
            path: args.path.clone(),
            entries: imported.entries,
            reasons,
        }
        .into());
    }

    let publication = Publication::begin(&folder)?;
    let (rows, images) = write(&publication, args.split, &imported, &names, &classes.kept_names)?;
    let described = |path: String, rows| -> Result<FileEntry, ArtefactError> {
        let inputs = Some(inputs.clone());
        Ok(FileEntry { inputs, ..publication.describe(&path, Some(rows))? })
    };
    let mut of_this_split = vec![described(predictions_file(args.split.as_str()), rows)?];
    let looked_at = imported.images_looked_at();
    if let Some(looked_at) = &looked_at {
        write_looked_at(&publication, args.split, &imported, looked_at, &names)?;
        let file = image_predictions_file(args.split.as_str());
        of_this_split.push(described(file, looked_at.len() as u64)?);
    }
    let silent_images = names.images.len() as u64 - images;
    let of_split = ImportedSplit {
        format: format!("{:?}", args.format).to_lowercase(),
        source: args.path.display().to_string(),
        entries: imported.entries,
        predictions: rows,
        images,
        silent_images,
        images_looked_at: looked_at.as_ref().map(|images| images.len() as u64),
        boxes_beyond_image: imported.boxes_beyond_image,
        category_ids: imported.category_ids.map(str::to_owned),
        left_out: left_out.clone(),
    };
    let digest = class_map.digest();
    let previous = Manifest::require_whole(&folder, "").ok();
    let previous = match previous {
        Some(previous) => Some((previous.summary_of(&folder)?, previous.files)),
        None => None,
    };
    let (files, splits) =
        beside_other_splits(context, previous, &digest, of_this_split, args.split, of_split);
    let fingerprint = files.iter().fold(Fingerprint::new(STAGE), |mut all, file| {
        all.add(file.inputs.as_deref().unwrap_or(""));
        all
    });
    let summary = PredictionsSummary {
        run: args.id.clone(),
        splits,
        class_names: classes.kept_names.clone(),
        class_map: Some(digest),
        ..PredictionsSummary::default()
    };
    let json = summary.to_json(&folder)?;
    let manifest = publication.commit(STAGE, &fingerprint.finish(), files, json)?;

    for group in &left_out {
        context.reporter.warn(format_args!("left out {}", in_words(group)));
    }
    if imported.boxes_beyond_image > 0 {
        context.reporter.warn(format_args!(
            "not cut: {} beyond the edges of their images",
            counted(imported.boxes_beyond_image, "box reaches", "boxes reach")
        ));
    }
    if let Some(numbering) = imported.category_ids {
        context.reporter.say(format_args!("classes are numbered {numbering}"));
    }
    context.reporter.say(format_args!(
        "{}: {rows} of {}, on {}; images without any: {silent_images}, whose objects count as \
         missed",
        args.split,
        counted(imported.entries, "prediction", "predictions"),
        counted(images, "image", "images")
    ));
    context.reporter.say(format_args!(
        "written to {}; score them with ossify-evaluate --set evaluate.predictions={}",
        folder.display(),
        args.id
    ));
    Ok(Outcome::done(manifest.summary).with_gates(strict_gate(context, args, &summary)))
}

fn check_usage(context: &Context, args: &ImportArgs) -> Result<(), StageError> {
    let usage = |text: String| Err(StageError::Usage(anyhow!(text)));
    if args.ground_truth.is_some() && args.format != ImportFormat::Coco {
        return usage(
            "--ground-truth belongs to --format coco; the other formats name images by \
            themselves, and classes by number"
                .into(),
        );
    }
    if args.category_ids.is_some() && args.format == ImportFormat::Yolo {
        return usage(
            "--category-ids belongs to JSON files; classes of YOLO's text files are those \
            of data.yaml"
                .into(),
        );
    }
    match args.format {
        ImportFormat::Yolo if !args.path.is_dir() => {
            return usage(format!(
                "{} is not a folder; --format yolo takes a folder of .txt files",
                args.path.display()
            ));
        }
        ImportFormat::Coco | ImportFormat::Ultralytics if !args.path.is_file() => {
            return usage(format!(
                "{} is not a file; this format is one JSON file",
                args.path.display()
            ));
        }
        _ => {}
    }
    if let Some(path) = args.ground_truth.as_ref().filter(|path| !path.is_file()) {
        return usage(format!("--ground-truth: {} is not a file", path.display()));
    }
    if context.out.runs().join(&args.id).is_dir() {
        return usage(format!(
            "there is a run `{}`, and its curves would appear in the report; choose another --id",
            args.id
        ));
    }
    Ok(())
}

/// Hash of all that decides the table of the split.
fn fingerprint(
    context: &Context,
    args: &ImportArgs,
    tables: &Manifest,
    text_files: &[PathBuf],
) -> Result<String, ArtefactError> {
    let mut fingerprint = context.fingerprint(STAGE, &[]);
    fingerprint.add(format!("{:?} {} {:?}", args.format, args.split, args.category_ids));
    for name in ["images.parquet", "classes.parquet"] {
        fingerprint.add(tables.file(name).map_or("", |file| &file.xxh3));
    }
    let hash = |path: &Path| hash_file(path).map(|(_, hash)| format!("{hash:016x}"));
    match args.format {
        ImportFormat::Yolo => yolo::add_to(&mut fingerprint, text_files)?,
        ImportFormat::Coco | ImportFormat::Ultralytics => drop(fingerprint.add(hash(&args.path)?)),
    }
    if let Some(path) = &args.ground_truth {
        fingerprint.add(hash(path)?);
    }
    Ok(fingerprint.finish())
}

fn read(
    args: &ImportArgs,
    text_files: &[PathBuf],
    names: &ImageNames,
    classes: &Classes,
) -> Result<Imported, ImportError> {
    if args.format == ImportFormat::Yolo {
        return yolo::read(text_files, names, classes);
    }
    let truth = args
        .ground_truth
        .as_ref()
        .map(|path| GroundTruth::read(path, names, classes))
        .transpose()?;
    let ids = match (&truth, args.category_ids) {
        (Some(truth), _) => Ids::GroundTruth(truth),
        (None, Some(numbering)) => Ids::Numbered(numbering),
        (None, None) => Ids::Evident { is_ultralytics: args.format == ImportFormat::Ultralytics },
    };
    coco::read(&args.path, &ids, names, classes)
}

/// Writes the table in order of image and rank; gives rows, and images that have one.
fn write(
    publication: &Publication,
    split: Split,
    imported: &Imported,
    names: &ImageNames,
    class_names: &[String],
) -> Result<(u64, u64), ArtefactError> {
    let mut rows = imported.rows.clone();
    rows.sort_by(|a, b| a.image.cmp(&b.image).then(b.score.total_cmp(&a.score)));
    let mut writer = TableWriter::create(publication.stage(&predictions_file(split.as_str()))?)?;
    let (mut images, mut rank, mut last) = (0, 0, None);
    for row in rows {
        if last != Some(row.image) {
            (images, rank, last) = (images + 1, 0, Some(row.image));
        }
        rank += 1;
        writer.push(PredictionRow {
            image_id: names.images[row.image as usize].image_id.clone(),
            split,
            rank,
            class_index: row.class_index,
            class_name: class_names.get(row.class_index as usize).cloned().unwrap_or_default(),
            score: row.score,
            probabilities: Vec::new(),
            xmin: row.unit_box.xmin,
            ymin: row.unit_box.ymin,
            xmax: row.unit_box.xmax,
            ymax: row.unit_box.ymax,
        })?;
    }
    Ok((writer.finish()?, images))
}

/// Writes the images that were looked at, in order.
fn write_looked_at(
    publication: &Publication,
    split: Split,
    imported: &Imported,
    looked_at: &BTreeSet<u32>,
    names: &ImageNames,
) -> Result<(), ArtefactError> {
    let mut detections: BTreeMap<u32, i32> = looked_at.iter().map(|image| (*image, 0)).collect();
    for row in &imported.rows {
        *detections.entry(row.image).or_default() += 1;
    }
    let path = publication.stage(&image_predictions_file(split.as_str()))?;
    let mut writer = TableWriter::create(path)?;
    for (image, detections) in detections {
        writer.push(ImagePredictionRow {
            image_id: names.images[image as usize].image_id.clone(),
            split,
            score: None,
            class_scores: Vec::new(),
            detections,
        })?;
    }
    writer.finish()?;
    Ok(())
}

/// The files and the summary of all splits. Tables of other splits stay, unless the classes changed
/// since.
fn beside_other_splits(
    context: &Context,
    previous: Option<(PredictionsSummary, Vec<FileEntry>)>,
    class_map: &str,
    of_this_split: Vec<FileEntry>,
    split: Split,
    of_split: ImportedSplit,
) -> (Vec<FileEntry>, BTreeMap<Split, ImportedSplit>) {
    let (mut files, mut splits) = (Vec::new(), BTreeMap::new());
    if let Some((summary, previous_files)) = previous {
        if summary.class_map.as_deref() == Some(class_map) {
            (files, splits) = (previous_files, summary.splits);
        } else {
            context.reporter.warn(
                "the classes of the tables changed since other splits were imported under this \
                 id; import those again",
            );
        }
    }
    let own = [predictions_file(split.as_str()), image_predictions_file(split.as_str())];
    files.retain(|file| !own.contains(&file.path));
    files.extend(of_this_split);
    splits.insert(split, of_split);
    (files, splits)
}

fn in_words(group: &LeftOutRows) -> String {
    format!("{}: {} (as {})", group.count, group.reason, group.example)
}

/// With `--strict`, rows that are wrong are a reason for exit code 3.
fn strict_gate(context: &Context, args: &ImportArgs, summary: &PredictionsSummary) -> Option<Gate> {
    let groups = summary.splits.get(&args.split).map_or(&[][..], |split| &split.left_out);
    let wrong: u64 = groups.iter().filter(|group| group.is_error).map(|group| group.count).sum();
    (context.strict && wrong > 0).then(|| Gate {
        name: "--strict".to_owned(),
        figure: wrong as f64,
        limit: 0.0,
        message: format!(
            "{} of {} could not be used",
            counted(wrong, "prediction", "predictions"),
            args.path.display()
        ),
    })
}
