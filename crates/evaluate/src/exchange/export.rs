//! Ground truth and predictions as COCO JSON, for pycocotools and whatever else reads it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ossify_contract::{
    ArtefactError, ClassMap, ImageStatus, ObjectRow, Split, TableReader, UnitBox, write_user_file,
};
use ossify_page::counted;
use ossify_settings::{Context, Outcome, StageError};
use serde::Serialize;

use crate::read::images::SplitImages;
use crate::read::sources::{Sources, verified_tables};

/// The command line of an export.
#[derive(clap::Args, Clone, Debug)]
pub struct ExportArgs {
    /// The split to export: train, valid or test
    #[arg(long)]
    pub split: Split,
    /// File for the ground truth, as COCO annotations
    #[arg(long, value_name = "FILE.json", required_unless_present = "to_results")]
    pub to: Option<PathBuf>,
    /// The predictions to write: an id or a table [default: evaluate.predictions of the
    /// configuration]
    #[arg(long, value_name = "ID", requires = "to_results")]
    pub predictions: Option<String>,
    /// File for the predictions, as COCO results
    #[arg(long, value_name = "FILE.json")]
    pub to_results: Option<PathBuf>,
}

/// What an export says of its work; the last four where that was written.
#[derive(Serialize)]
struct ExportSummary {
    split: Split,
    images: usize,
    images_left_out: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    objects_left_out: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    predictions: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    predictions_left_out: Option<u64>,
}

#[derive(Serialize)]
struct GroundTruth<'a> {
    info: Info,
    images: Vec<Image<'a>>,
    categories: Vec<Category<'a>>,
    annotations: Vec<Annotation>,
}

#[derive(Serialize)]
struct Info {
    description: String,
}

#[derive(Serialize)]
struct Image<'a> {
    id: u64,
    file_name: &'a str,
    width: i32,
    height: i32,
}

#[derive(Serialize)]
struct Category<'a> {
    id: i64,
    name: &'a str,
}

#[derive(Serialize)]
struct Annotation {
    id: u64,
    image_id: u64,
    category_id: i64,
    /// x and y of the top left corner, width, height, in pixels.
    bbox: [f64; 4],
    /// Square pixels, of the polygon where there is one.
    area: f64,
    /// One polygon of x and y in turn, in pixels, or none.
    segmentation: Vec<Vec<f64>>,
    iscrowd: u8,
}

#[derive(Serialize)]
struct Detection {
    image_id: u64,
    category_id: i64,
    bbox: [f64; 4],
    score: f32,
}

/// Writes what evaluate scores of a split as COCO JSON: the images that are readable and labelled
/// or background, the trained classes, their objects, and the predictions on these images.
///
/// The same tables give the same bytes. Images are numbered from 1 in order of `image_id`, which is
/// their `file_name`; annotations from 1 in order of image and line (pycocotools takes 0 for "no
/// match"); a category's id is one more than its class in data.yaml, for 0 is the background to
/// many tools. What is not scored is left out and counted in the summary.
///
/// # Errors
/// Fails where tables or predictions are not there or do not fit, and where the disk does.
pub fn export(context: &Context, args: &ExportArgs) -> Result<Outcome, StageError> {
    verified_tables(context)?;
    let tables = Tables::read(&context.out.tables(), args.split)?;
    // Both before either is written: a failure leaves no half of a pair.
    let truth = args
        .to
        .as_ref()
        .map(|path| Ok::<_, StageError>((path, tables.ground_truth()?)))
        .transpose()?;
    let results = args
        .to_results
        .as_ref()
        .map(|path| Ok::<_, StageError>((path, results(context, args, &tables)?)))
        .transpose()?;
    let mut summary = ExportSummary {
        split: args.split,
        images: tables.images.scored.len(),
        images_left_out: tables.images_left_out(),
        annotations: None,
        objects_left_out: None,
        predictions: None,
        predictions_left_out: None,
    };
    if let Some((path, truth)) = truth {
        write(path, &truth.file)?;
        summary.annotations = Some(truth.file.annotations.len());
        summary.objects_left_out = Some(truth.objects_left_out);
        context.reporter.say(format_args!(
            "{}: {} and {} of {} written to {}; left out: {}, unlabelled or unreadable, and {}, of \
             classes that are not trained or on such images",
            args.split,
            counted(tables.images.scored.len() as u64, "image", "images"),
            counted(truth.file.annotations.len() as u64, "object", "objects"),
            counted(truth.file.categories.len() as u64, "class", "classes"),
            path.display(),
            counted(tables.images_left_out(), "image", "images"),
            counted(truth.objects_left_out, "object", "objects")
        ));
    }
    if let Some((path, (detections, left_out))) = results {
        write(path, &detections)?;
        summary.predictions = Some(detections.len());
        summary.predictions_left_out = Some(left_out);
        context.reporter.say(format_args!(
            "{}: {} written to {}; left out: {left_out}, on images that are unlabelled or \
             unreadable",
            args.split,
            counted(detections.len() as u64, "prediction", "predictions"),
            path.display()
        ));
    }
    Ok(Outcome::done(serde_json::to_value(summary).context("cannot encode the summary")?))
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), StageError> {
    let mut text =
        serde_json::to_vec(value).with_context(|| format!("cannot write {}", path.display()))?;
    text.push(b'\n');
    Ok(write_user_file(path, &text)?)
}

/// The part of the tables that is written.
struct Tables {
    folder: PathBuf,
    split: Split,
    classes: ClassMap,
    images: SplitImages,
}

struct ExportedTruth<'a> {
    file: GroundTruth<'a>,
    objects_left_out: u64,
}

impl Tables {
    fn read(folder: &Path, split: Split) -> Result<Self, StageError> {
        let classes = ClassMap::read(folder.join("classes.parquet"))?;
        let path = folder.join("images.parquet");
        let images = SplitImages::read(&path, split)?;
        if let Some(image) =
            images.scored.iter().find(|image| image.size_px.0 <= 0 || image.size_px.1 <= 0)
        {
            let reason = format!(
                "`{}` is {}x{} pixels; run ossify-ingest again with --force",
                image.image_id, image.size_px.0, image.size_px.1
            );
            return Err(ArtefactError::corrupt(path, reason).into());
        }
        Ok(Tables { folder: folder.to_path_buf(), split, classes, images })
    }

    fn images_left_out(&self) -> u64 {
        self.images.of_status(ImageStatus::Unlabelled)
            + self.images.of_status(ImageStatus::Unreadable)
    }

    /// Ids of the categories in order of `class_index`.
    fn category_ids(&self) -> Vec<i64> {
        self.categories().map(|(category, _)| category.id).collect()
    }

    fn categories(&self) -> impl Iterator<Item = (Category<'_>, i16)> {
        let mut kept: Vec<_> = self
            .classes
            .rows()
            .iter()
            .filter(|row| row.kept)
            .filter_map(|row| Some((row, row.class_index?)))
            .collect();
        kept.sort_by_key(|(_, index)| *index);
        kept.into_iter().map(|(row, index)| {
            (Category { id: i64::from(row.class_id) + 1, name: &row.class_name }, index)
        })
    }

    fn ground_truth(&self) -> Result<ExportedTruth<'_>, StageError> {
        let index = self.images.index();
        let category_ids: HashMap<i16, i64> =
            self.categories().map(|(category, index)| (index, category.id)).collect();
        let (mut found, mut objects_left_out) = (Vec::new(), 0);
        let path = self.folder.join("objects.parquet");
        for batch in TableReader::<ObjectRow>::open(&path)? {
            for row in batch?.into_iter().filter(|row| row.split == self.split) {
                let category_id =
                    row.class_index.and_then(|class_index| category_ids.get(&class_index));
                match (index.get(row.image_id.as_str()), category_id) {
                    (Some(image), Some(category_id)) => found.push((
                        *image,
                        row.line,
                        self.annotation(*image as usize, *category_id, &row),
                    )),
                    _ => objects_left_out += 1,
                }
            }
        }
        found.sort_by_key(|(image, line, _)| (*image, *line));
        let annotations = (1..)
            .zip(found)
            .map(|(id, (_, _, annotation))| Annotation { id, ..annotation })
            .collect();
        let images = (1..).zip(&self.images.scored);
        let images = images
            .map(|(id, image)| Image {
                id,
                file_name: &image.image_id,
                width: image.size_px.0,
                height: image.size_px.1,
            })
            .collect();
        let file = GroundTruth {
            info: Info {
                description: format!("{} split, written by ossify-evaluate export", self.split),
            },
            images,
            categories: self.categories().map(|(category, _)| category).collect(),
            annotations,
        };
        Ok(ExportedTruth { file, objects_left_out })
    }

    fn annotation(&self, image: usize, category_id: i64, row: &ObjectRow) -> Annotation {
        let size_px = self.size_px(image);
        let polygon = row.vertices.as_ref().map(|vertices| {
            vertices
                .iter()
                .flat_map(|[x, y]| [f64::from(*x) * size_px.0, f64::from(*y) * size_px.1])
                .collect()
        });
        Annotation {
            id: 0,
            image_id: image as u64 + 1,
            category_id,
            bbox: pixels(&row.unit_box(), size_px),
            area: f64::from(row.area) * size_px.0 * size_px.1,
            segmentation: polygon.into_iter().collect(),
            iscrowd: 0,
        }
    }

    fn size_px(&self, image: usize) -> (f64, f64) {
        let (width, height) = self.images.scored[image].size_px;
        (f64::from(width), f64::from(height))
    }
}

/// The predictions on images that are scored, in order of image and rank, and how many are on
/// others.
fn results(
    context: &Context,
    args: &ExportArgs,
    tables: &Tables,
) -> Result<(Vec<Detection>, u64), StageError> {
    let mut context = context.clone();
    context.settings.evaluate.splits = vec![args.split];
    if let Some(id) = &args.predictions {
        context.settings.evaluate.predictions.clone_from(id);
    }
    let sources = Sources::resolve(&context)?;
    let [(split, path)] = sources.predictions.as_slice() else {
        return Err(anyhow::anyhow!("there are no predictions of the {} split", args.split).into());
    };
    let data = sources.read(&context, *split, path)?;
    let category_ids = tables.category_ids();
    let mut detections = Vec::with_capacity(data.predictions.len());
    for (i, image) in data.images.iter().enumerate() {
        for prediction in data.predictions_of(image) {
            detections.push(Detection {
                image_id: i as u64 + 1,
                category_id: category_ids
                    .get(usize::from(prediction.class))
                    .copied()
                    .unwrap_or_default(),
                bbox: pixels(&prediction.unit_box, tables.size_px(i)),
                score: prediction.score,
            });
        }
    }
    let left_out = data
        .excluded
        .iter()
        .filter(|excluded| excluded.what == "predictions")
        .map(|excluded| excluded.count)
        .sum();
    Ok((detections, left_out))
}

/// x and y of the top left corner, width, height.
fn pixels(unit_box: &UnitBox, size_px: (f64, f64)) -> [f64; 4] {
    let [xmin, ymin, xmax, ymax] = unit_box.to_array().map(f64::from);
    [xmin * size_px.0, ymin * size_px.1, (xmax - xmin) * size_px.0, (ymax - ymin) * size_px.1]
}
