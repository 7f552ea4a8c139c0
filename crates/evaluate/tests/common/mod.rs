//! Small label tables and predictions for tests, written as the other stages write them.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use ossify_contract::{
    ClassRow, FingerprintRow, ImagePredictionRow, ImageRow, ImageStatus, ObjectRow, PredictionRow,
    Publication, Row, Shape, Split, TableWriter, WorkFolder, write_latest,
};

/// What a test puts into the work folder; all of the valid split.
#[derive(Default)]
pub struct Work {
    pub classes: Vec<(&'static str, bool)>,
    pub images: Vec<ImageRow>,
    pub objects: Vec<ObjectRow>,
    pub predictions: Vec<PredictionRow>,
    pub fingerprints: Option<Vec<FingerprintRow>>,
    /// The images that were looked at, where a table says so.
    pub looked_at: Option<Vec<ImagePredictionRow>>,
    /// Of the predictions' manifest.
    pub summary: serde_json::Value,
}

pub type Edges = [f32; 4];

impl Work {
    /// Work with these classes, all of them trained.
    pub fn with_classes(names: &[&'static str]) -> Self {
        Work { classes: names.iter().map(|name| (*name, true)).collect(), ..Default::default() }
    }

    pub fn image(&mut self, image_id: &str, status: ImageStatus) -> &mut Self {
        self.images.push(ImageRow {
            image_id: image_id.into(),
            split: Split::Valid,
            label_path: None,
            width: 64,
            height: 48,
            channels: 1,
            format: "png".into(),
            bytes: 1,
            exif_orientation: 1,
            source_stem: image_id.into(),
            status,
            object_count: 0,
            issue_count: 0,
        });
        self
    }

    /// An object on the newest image; `None` for a class that was filtered as rare.
    pub fn object(&mut self, class_index: Option<i16>, edges: Edges) -> &mut Self {
        let image = self.images.last().unwrap();
        let line = self.objects.iter().filter(|object| object.image_id == image.image_id).count()
            as i32
            + 1;
        let [xmin, ymin, xmax, ymax] = edges;
        self.objects.push(ObjectRow {
            image_id: image.image_id.clone(),
            split: Split::Valid,
            line,
            class_id: class_index.unwrap_or(99),
            class_name: class_index.map_or("rare", |index| self.kept()[index as usize]).into(),
            class_index,
            shape: Shape::Box,
            vertices: None,
            xmin,
            ymin,
            xmax,
            ymax,
            area: (xmax - xmin) * (ymax - ymin),
            repaired: false,
        });
        self
    }

    /// A prediction on the newest image, with the rest of the probability spread over the other
    /// classes.
    pub fn predict(&mut self, class_index: i16, score: f32, edges: Edges) -> &mut Self {
        let image_id = self.images.last().unwrap().image_id.clone();
        let rank =
            self.predictions.iter().filter(|prediction| prediction.image_id == image_id).count()
                as i32
                + 1;
        let classes = self.kept().len();
        let mut probabilities =
            vec![if classes > 1 { (1.0 - score) / (classes - 1) as f32 } else { 0.0 }; classes];
        probabilities[class_index as usize] = score;
        let [xmin, ymin, xmax, ymax] = edges;
        let class_name = self.kept()[class_index as usize].into();
        self.predictions.push(PredictionRow {
            image_id,
            split: Split::Valid,
            rank,
            class_index,
            class_name,
            score,
            probabilities,
            xmin,
            ymin,
            xmax,
            ymax,
        });
        self
    }

    /// Each object predicted as it is, with full confidence.
    pub fn predict_perfectly(&mut self) -> &mut Self {
        let classes = self.kept().len();
        let mut ranks = std::collections::HashMap::new();
        for object in &self.objects {
            let Some(class_index) = object.class_index else { continue };
            let rank = ranks.entry(object.image_id.clone()).or_insert(0);
            *rank += 1;
            let mut probabilities = vec![0.0; classes];
            probabilities[class_index as usize] = 1.0;
            self.predictions.push(PredictionRow {
                image_id: object.image_id.clone(),
                split: Split::Valid,
                rank: *rank,
                class_index,
                class_name: object.class_name.clone(),
                score: 1.0,
                probabilities,
                xmin: object.xmin,
                ymin: object.ymin,
                xmax: object.xmax,
                ymax: object.ymax,
            });
        }
        self
    }

    /// Makes the predictions those of a detector that looked at all images: no probabilities, and
    /// `floor` as the score of what has no prediction.
    pub fn detected(&mut self, floor: f32) -> &mut Self {
        let classes = self.kept().len();
        self.predictions.iter_mut().for_each(|row| row.probabilities.clear());
        let row = |image: &ImageRow| {
            let own = self.predictions.iter().filter(|row| row.image_id == image.image_id);
            let best = |class: Option<usize>| {
                let of_class = own
                    .clone()
                    .filter(|row| class.is_none_or(|class| row.class_index as usize == class));
                of_class.map(|row| row.score).fold(floor, f32::max)
            };
            ImagePredictionRow {
                image_id: image.image_id.clone(),
                split: image.split,
                score: Some(best(None)),
                class_scores: (0..classes).map(|class| best(Some(class))).collect(),
                detections: own.clone().count() as i32,
            }
        };
        self.looked_at = Some(self.images.iter().map(row).collect());
        self
    }

    /// A fingerprint of the newest image.
    pub fn fingerprint(
        &mut self,
        leak_group: Option<i32>,
        brightness: f32,
        contrast: f32,
    ) -> &mut Self {
        let image_id = self.images.last().unwrap().image_id.clone();
        let row = FingerprintRow {
            image_id,
            split: Split::Valid,
            bytes_xxh3: 0,
            pixels_xxh3: 0,
            perceptual_hash: 0,
            brightness,
            contrast,
            leak_group,
        };
        self.fingerprints.get_or_insert_default().push(row);
        self
    }

    /// Fingerprints of all images, with the leak groups that `leak_group` says by the image's
    /// number.
    pub fn fingerprints(&mut self, leak_group: impl Fn(usize) -> Option<i32>) -> &mut Self {
        let images = std::mem::take(&mut self.images);
        for (i, image) in images.into_iter().enumerate() {
            self.images.push(image);
            self.fingerprint(leak_group(i), 0.5, 0.25);
        }
        self
    }

    fn kept(&self) -> Vec<&'static str> {
        self.classes.iter().filter(|(_, kept)| *kept).map(|(name, _)| *name).collect()
    }

    pub fn class_rows(&self) -> Vec<ClassRow> {
        let mut next = -1;
        let row = |(class_id, (name, kept)): (usize, &(&str, bool))| {
            next += i16::from(*kept);
            ClassRow {
                class_id: class_id as i16,
                class_name: (*name).into(),
                class_index: kept.then_some(next),
                train_objects: 0,
                valid_objects: 0,
                test_objects: 0,
                train_images: 0,
                valid_images: 0,
                test_images: 0,
                kept: *kept,
                reason: None,
            }
        };
        self.classes.iter().enumerate().map(row).collect()
    }

    /// Writes everything below `out`.
    pub fn write(&self, out: &Path) -> WorkFolder {
        let folder = WorkFolder::new(out);
        let tables = Publication::begin(folder.tables()).unwrap();
        let files = vec![
            table(&tables, "images.parquet", &self.images),
            table(&tables, "objects.parquet", &self.objects),
            table(&tables, "classes.parquet", &self.class_rows()),
        ];
        tables.commit("ingest", "tables", files, serde_json::Value::Null).unwrap();
        let predictions = Publication::begin(folder.predictions().join("run-1")).unwrap();
        let mut files = vec![table(&predictions, "valid.parquet", &self.predictions)];
        if let Some(rows) = &self.looked_at {
            files.push(table(&predictions, "valid.images.parquet", rows));
        }
        let summary = match &self.summary {
            serde_json::Value::Null => serde_json::json!({}),
            summary => summary.clone(),
        };
        predictions.commit("predict", "predictions", files, summary).unwrap();
        write_latest(&folder.predictions(), "run-1").unwrap();
        if let Some(rows) = &self.fingerprints {
            let shards = Publication::begin(folder.shards()).unwrap();
            let files = vec![table(&shards, "fingerprints.parquet", rows)];
            shards.commit("resize", "shards", files, serde_json::Value::Null).unwrap();
        }
        folder
    }
}

fn table<R: Row + Clone>(
    publication: &Publication,
    name: &str,
    rows: &[R],
) -> ossify_contract::FileEntry {
    write_rows(&publication.stage(name).unwrap(), rows);
    publication.describe(name, Some(rows.len() as u64)).unwrap()
}

pub fn write_rows<R: Row + Clone>(path: &Path, rows: &[R]) {
    let mut writer = TableWriter::create(path).unwrap();
    for row in rows {
        writer.push(row.clone()).unwrap();
    }
    writer.finish().unwrap();
}
