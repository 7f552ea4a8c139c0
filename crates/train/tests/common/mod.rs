#![allow(missing_docs, dead_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use ossify_contract::{
    Action, ClassRow, EpochMetrics, ImageRow, ImageStatus, IssueRow, ObjectRow, Publication, Row,
    Severity, Shape, ShardRow, ShardShape, ShardWriter, Split, TableWriter, Transform,
    read_metrics,
};
use ossify_vocabulary::ShardCompression;
use serde_json::json;

pub const SIDE: u32 = 32;
/// All of an image of 64 x 64 pixels.
pub const STRETCH: Transform =
    Transform { scale_x: 0.5, scale_y: 0.5, offset_x: 0.0, offset_y: 0.0 };

/// A work folder with tables and shards of small pictures: a bright square on the left or on the
/// right, one class each.
pub struct Work {
    folder: tempfile::TempDir,
}

impl Work {
    pub fn new(train: usize, valid: usize) -> Self {
        let work = Work { folder: tempfile::tempdir().unwrap() };
        let images: Vec<(Split, usize)> = (0..train)
            .map(|i| (Split::Train, i))
            .chain((0..valid).map(|i| (Split::Valid, i)))
            .collect();
        work.write_tables(&images, 2);
        work.write_shards(&images);
        work
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn out(&self) -> PathBuf {
        self.path().join("work")
    }

    pub fn run_folder(&self) -> PathBuf {
        let runs = self.out().join("runs");
        let id = std::fs::read_to_string(runs.join("latest")).unwrap();
        runs.join(id.trim())
    }

    /// Bytes of each tensor of the run's model, by name.
    pub fn tensors(&self) -> BTreeMap<String, Vec<u8>> {
        let bytes = std::fs::read(self.run_folder().join("model.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        file.iter().map(|(name, tensor)| (name.to_owned(), tensor.data().to_vec())).collect()
    }

    /// State in the last checkpoint of the one run that there is; `None` before its first.
    pub fn last_state(&self) -> Option<serde_json::Value> {
        let run = std::fs::read_dir(self.out().join("runs"))
            .ok()?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.is_dir())?;
        let file = "checkpoints/last/checkpoint.safetensors";
        let bytes = std::fs::read(run.join("unfinished").join(file))
            .or_else(|_| std::fs::read(run.join(file)))
            .ok()?;
        let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        Some(serde_json::from_str(&metadata.metadata().as_ref().unwrap()["state"]).unwrap())
    }

    pub fn metrics(&self) -> Vec<EpochMetrics> {
        read_metrics(&self.run_folder().join("metrics.jsonl")).unwrap()
    }

    /// `ossify-train` on this work folder with a recipe of seconds.
    pub fn train(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ossify-train"));
        command.current_dir(self.path()).arg("--out").arg(self.out());
        let recipe = [
            "model.architecture=\"densenet-compact\"",
            "model.weights=\"none\"",
            "mode=\"scratch\"",
            "epochs=3",
            "batch_size=8",
            "optimizer.learning_rate=0.002",
            "model.input_px=32",
            "model.head_widths=[16]",
            "model.dropout=0.2",
            "augment.flip=false",
            "augment.shift=0.1",
            "augment.brightness=0.2",
            "schedule.kind=\"cosine\"",
            "stopping.train_accuracy=0.0",
            "device=\"auto\"",
        ];
        for assignment in recipe.iter().chain(more.iter().filter(|more| !more.starts_with("--"))) {
            command.arg("--set").arg(format!("train.{assignment}"));
        }
        command.args(more.iter().filter(|more| more.starts_with("--")));
        command
    }

    pub fn write_tables(&self, images: &[(Split, usize)], classes: i16) {
        let publication = Publication::begin(self.out().join("tables")).unwrap();
        let mut files = Vec::new();
        let image_rows = images.iter().map(|(split, i)| ImageRow {
            image_id: image_id(*split, *i),
            split: *split,
            label_path: None,
            width: 64,
            height: 64,
            channels: 1,
            format: "png".into(),
            bytes: 1,
            exif_orientation: 1,
            source_stem: i.to_string(),
            status: ImageStatus::Labelled,
            object_count: 1,
            issue_count: 0,
        });
        let object_rows = images.iter().map(|(split, i)| {
            let (x, y) = corner(*i);
            ObjectRow {
                image_id: image_id(*split, *i),
                split: *split,
                line: 1,
                class_id: (*i % 2) as i16,
                class_name: format!("class {}", i % 2),
                class_index: Some((*i % 2) as i16),
                shape: Shape::Box,
                vertices: None,
                xmin: x as f32 / SIDE as f32,
                ymin: y as f32 / SIDE as f32,
                xmax: (x + 8) as f32 / SIDE as f32,
                ymax: (y + 8) as f32 / SIDE as f32,
                area: 0.0625,
                repaired: false,
            }
        });
        let class_rows = (0..classes).map(|i| ClassRow {
            class_id: i,
            class_name: format!("class {i}"),
            class_index: Some(i),
            train_objects: 1,
            valid_objects: 1,
            test_objects: 0,
            train_images: 1,
            valid_images: 1,
            test_images: 0,
            kept: true,
            reason: None,
        });
        files.push(table(&publication, "images.parquet", image_rows));
        files.push(table(&publication, "objects.parquet", object_rows));
        files.push(table(&publication, "classes.parquet", class_rows));
        publication.commit("ingest", "test", files, json!({})).unwrap();
    }

    /// Two shards a split, so that numbers run through both.
    pub fn write_shards(&self, images: &[(Split, usize)]) {
        self.write_shards_of(images, |count| count.div_ceil(2).max(1), |_| STRETCH);
    }

    /// Shards of as many images as `shard_size` says for so many of a split.
    pub fn write_shards_of(
        &self,
        images: &[(Split, usize)],
        shard_size: impl Fn(usize) -> usize,
        transform: impl Fn(usize) -> Transform,
    ) {
        self.write_shards_without(images, shard_size, transform, std::iter::empty());
    }

    /// As [`Self::write_shards_of`], with a list of images that could not be decoded.
    pub fn write_shards_without(
        &self,
        images: &[(Split, usize)],
        shard_size: impl Fn(usize) -> usize,
        transform: impl Fn(usize) -> Transform,
        failed: impl Iterator<Item = String>,
    ) {
        let publication = Publication::begin(self.out().join("shards")).unwrap();
        let shape = ShardShape { height: SIDE, width: SIDE, channels: 3 };
        let mut files = Vec::new();
        for split in [Split::Train, Split::Valid] {
            let mine: Vec<usize> =
                images.iter().filter(|(of, _)| *of == split).map(|(_, i)| *i).collect();
            for (number, part) in mine.chunks(shard_size(mine.len())).enumerate() {
                let name = format!("{split}-{number:05}.arrow");
                let mut writer = ShardWriter::create(
                    publication.stage(&name).unwrap(),
                    shape,
                    ShardCompression::None,
                )
                .unwrap();
                for i in part {
                    let row =
                        ShardRow::new(image_id(split, *i), (64, 64), transform(*i), &picture(*i));
                    writer.write(&[row], picture(*i)).unwrap();
                }
                files.push(writer.finish(&name).unwrap());
            }
        }
        files.push(table(&publication, "issues.parquet", failed.map(undecoded)));
        publication.commit("resize", "test", files, json!({})).unwrap();
    }
}

/// What resize says of an image that it could not decode.
fn undecoded(path: String) -> IssueRow {
    IssueRow {
        split: Split::Train,
        path,
        line: None,
        column: None,
        rule: "image-unreadable".into(),
        severity: Severity::Error,
        action: Action::Dropped,
        message: "not a picture".into(),
        text: None,
    }
}

fn table<R: Row>(
    publication: &Publication,
    name: &str,
    rows: impl Iterator<Item = R>,
) -> ossify_contract::FileEntry {
    let mut writer = TableWriter::create(publication.stage(name).unwrap()).unwrap();
    rows.for_each(|row| writer.push(row).unwrap());
    let rows = writer.finish().unwrap();
    publication.describe(name, Some(rows)).unwrap()
}

pub fn image_id(split: Split, i: usize) -> String {
    format!("{split}/images/{i:03}.png")
}

/// Odd images have their square on the right.
fn corner(i: usize) -> (usize, usize) {
    (2 + (i * 5) % 7 + 14 * (i % 2), 2 + (i * 3) % 20)
}

fn picture(i: usize) -> Vec<u8> {
    let side = SIDE as usize;
    let (left, top) = corner(i);
    let mut pixels: Vec<u8> =
        (0..side * side * 3).map(|p| ((p * 31 + i * 17) % 40) as u8).collect();
    for y in top..top + 8 {
        for x in left..left + 8 {
            pixels[(y * side + x) * 3..][..3].fill(220);
        }
    }
    pixels
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Without what differs between equal runs.
pub fn timeless(metrics: Vec<EpochMetrics>) -> Vec<EpochMetrics> {
    metrics.into_iter().map(EpochMetrics::timeless).collect()
}
