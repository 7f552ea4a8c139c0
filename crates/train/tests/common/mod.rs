#![allow(missing_docs, dead_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

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

/// An object of a picture, pixels.
#[derive(Clone, Copy)]
pub struct Square {
    pub class: usize,
    pub left: usize,
    pub top: usize,
    pub side: usize,
    pub gray: u8,
}

/// A work folder with tables and shards of small pictures.
pub struct Work {
    folder: tempfile::TempDir,
    /// The objects of the picture of each number.
    scene: fn(usize) -> Vec<Square>,
}

impl Work {
    /// Pictures of a bright square on the left or on the right, one class each.
    pub fn new(train: usize, valid: usize) -> Self {
        Self::of(one_square, train, valid)
    }

    /// Pictures of none to three squares, whose gray is their class.
    pub fn of_many(train: usize, valid: usize) -> Self {
        Self::of(many_squares, train, valid)
    }

    fn of(scene: fn(usize) -> Vec<Square>, train: usize, valid: usize) -> Self {
        let work = Work { folder: tempfile::tempdir().unwrap(), scene };
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
        tensors(&self.run_folder().join("model.safetensors"))
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
            status: match (self.scene)(*i).len() {
                0 => ImageStatus::Background,
                _ => ImageStatus::Labelled,
            },
            object_count: i32::try_from((self.scene)(*i).len()).unwrap(),
            issue_count: 0,
        });
        let scenes = images.iter().flat_map(|(split, i)| {
            (1..).zip((self.scene)(*i)).map(move |(line, square)| (*split, *i, line, square))
        });
        let object_rows = scenes.map(|(split, i, line, square)| {
            let Square { class, left, top, side, .. } = square;
            let share = |edge: usize| edge as f32 / SIDE as f32;
            ObjectRow {
                image_id: image_id(split, i),
                split,
                line,
                class_id: class as i16,
                class_name: format!("class {class}"),
                class_index: Some(class as i16),
                shape: Shape::Box,
                vertices: None,
                xmin: share(left),
                ymin: share(top),
                xmax: share(left + side),
                ymax: share(top + side),
                area: share(side) * share(side),
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
                    let picture = picture(*i, &(self.scene)(*i));
                    let row = ShardRow::new(image_id(split, *i), (64, 64), transform(*i), &picture);
                    writer.write(&[row], picture).unwrap();
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
fn one_square(i: usize) -> Vec<Square> {
    let (left, top) = (2 + (i * 5) % 7 + 14 * (i % 2), 2 + (i * 3) % 20);
    vec![Square { class: i % 2, left, top, side: 8, gray: 220 }]
}

/// Each in a quarter of its own.
fn many_squares(i: usize) -> Vec<Square> {
    (0..i % 4)
        .map(|number| {
            let (quarter, class) = ((i / 4 + number) % 4, (i / 4 + number) % 2);
            let side = 8 + (i * 7 + number) % 4;
            let [left, top] = [(quarter % 2, 5), (quarter / 2, 3)]
                .map(|(half, step)| 16 * half + (i * step + number) % (17 - side));
            Square { class, left, top, side, gray: [230, 130][class] }
        })
        .collect()
}

fn picture(i: usize, squares: &[Square]) -> Vec<u8> {
    let side = SIDE as usize;
    let mut pixels: Vec<u8> =
        (0..side * side * 3).map(|p| ((p * 31 + i * 17) % 40) as u8).collect();
    for square in squares {
        for y in square.top..square.top + square.side {
            for x in square.left..square.left + square.side {
                pixels[(y * side + x) * 3..][..3].fill(square.gray);
            }
        }
    }
    pixels
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes of each tensor of a file, by name.
pub fn tensors(file: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = std::fs::read(file).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    file.iter().map(|(name, tensor)| (name.to_owned(), tensor.data().to_vec())).collect()
}

/// The step of the run's last checkpoint.
pub fn step_of(work: &Work) -> u64 {
    work.last_state().map_or(0, |state| state["step"].as_u64().unwrap())
}

/// Waits until the run has come to a step; false where it ended before.
pub fn reaches(child: &mut Child, work: &Work, step: u64) -> bool {
    while step_of(work) < step {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Ends a run at once, or asks it to end.
pub fn stop(child: &mut Child, at_once: bool) {
    if at_once {
        child.kill().unwrap();
    } else {
        Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    }
    child.wait().unwrap();
}

pub fn model(work: &Work) -> Vec<u8> {
    std::fs::read(work.run_folder().join("model.safetensors")).unwrap()
}

/// Without what differs between equal runs.
pub fn timeless(metrics: Vec<EpochMetrics>) -> Vec<EpochMetrics> {
    metrics.into_iter().map(EpochMetrics::timeless).collect()
}
