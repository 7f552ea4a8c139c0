//! A dataset with its tables, made without any other stage.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::{DynamicImage, ImageFormat};
use ossify_contract::{ImageRow, ImageStatus, Manifest, Publication, Split, TableWriter};

/// A dataset folder beside a work folder.
pub struct Bench {
    pub root: tempfile::TempDir,
    pub rows: Vec<ImageRow>,
}

impl Bench {
    pub fn new() -> Self {
        Bench { root: tempfile::tempdir().unwrap(), rows: Vec::new() }
    }

    /// `images` different pictures of several formats and sizes: half in train, a quarter in valid
    /// and a quarter in test.
    pub fn with_images(images: usize) -> Self {
        let mut bench = Self::new();
        for i in 0..images {
            let split = [Split::Train, Split::Valid, Split::Train, Split::Test][i % 4];
            let (width, height) = (60 + (i * 37 % 90) as u32, 50 + (i * 53 % 70) as u32);
            let format = [
                ImageFormat::Jpeg,
                ImageFormat::Png,
                ImageFormat::Jpeg,
                ImageFormat::Bmp,
                ImageFormat::Jpeg,
            ][i % 5];
            bench.add(
                split,
                &format!("{i:05}.{}", format.extensions_str()[0]),
                &encoded(&picture(width, height, i as u32), format),
                (width, height),
            );
        }
        bench.write_tables();
        bench
    }

    pub fn dataset(&self) -> PathBuf {
        self.root.path().join("dataset")
    }

    pub fn out(&self) -> PathBuf {
        self.root.path().join("out")
    }

    pub fn image_id(split: Split, name: &str) -> String {
        format!("{split}/images/{name}")
    }

    /// Writes a file and gives it a row.
    pub fn add(&mut self, split: Split, name: &str, bytes: &[u8], (width, height): (u32, u32)) {
        let image_id = Self::image_id(split, name);
        let path = self.dataset().join(&image_id);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        self.rows.push(ImageRow {
            image_id,
            split,
            label_path: None,
            width: width as i32,
            height: height as i32,
            channels: 3,
            format: "jpeg".into(),
            bytes: bytes.len() as i64,
            exif_orientation: 1,
            source_stem: name.into(),
            status: ImageStatus::Background,
            object_count: 0,
            issue_count: 0,
        });
    }

    pub fn write_tables(&self) {
        let publication = Publication::begin(self.out().join("tables")).unwrap();
        let mut writer = TableWriter::create(publication.stage("images.parquet").unwrap()).unwrap();
        for row in &self.rows {
            writer.push(row.clone()).unwrap();
        }
        let rows = writer.finish().unwrap();
        let files = vec![publication.describe("images.parquet", Some(rows)).unwrap()];
        publication.commit("ingest", "by hand", files, serde_json::Value::Null).unwrap();
    }

    /// Another work folder, with the same tables.
    pub fn work_folder(&self, name: &str) -> PathBuf {
        let out = self.root.path().join(name);
        self.copy_tables(&out);
        out
    }

    /// Gives the work folder `out` the tables as they are now.
    pub fn copy_tables(&self, out: &Path) {
        std::fs::create_dir_all(out.join("tables")).unwrap();
        for entry in std::fs::read_dir(self.out().join("tables")).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), out.join("tables").join(entry.file_name())).unwrap();
        }
    }

    /// The stage's command with additional arguments.
    pub fn command(&self, out: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ossify-resize"));
        command
            .arg("--dataset")
            .arg(self.dataset())
            .arg("--out")
            .arg(out)
            .args(["--json", "--set", "resize.side_px=48", "--set", "resize.images_per_shard=16"])
            .args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(&self.out(), arguments).output().unwrap()
    }

    /// Runs the stage, which must succeed; returns its summary.
    pub fn summary(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        json(&output)
    }
}

/// Calls `damaged` with each file that the manifest of `folder` lists and that has a byte, while a
/// bit in its middle is flipped.
pub fn with_each_file_damaged(folder: &Path, mut damaged: impl FnMut(&str)) {
    for file in Manifest::open(folder, "").unwrap().files.iter().filter(|file| file.bytes > 0) {
        let path = folder.join(&file.path);
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        // A shard may have another name in another folder, which is to keep its bytes.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, flipped).unwrap();
        damaged(&file.path);
        std::fs::write(&path, whole).unwrap();
    }
}

pub fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {} {}", text(&output.stdout), text(&output.stderr)))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A picture with smooth parts and edges that differs with the seed.
pub fn picture(width: u32, height: u32, seed: u32) -> DynamicImage {
    let phase = f64::from(seed) * 0.7;
    let value = |x: u32, y: u32, c: f64| {
        let smooth = 110.0
            + 60.0 * (f64::from(x) * 0.05 + phase + c).sin()
            + 50.0 * (f64::from(y) * 0.08 - phase).cos();
        if (x + seed * 7) % 40 < 4 { 250 } else { smooth as u8 }
    };
    image::RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([value(x, y, 0.0), value(x, y, 0.5), value(x, y, 1.0)])
    })
    .into()
}

pub fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image.write_to(&mut out, format).unwrap();
    out.into_inner()
}

/// A pool with this number of threads.
pub fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

/// The published files by name, the manifest without its time of creation.
pub fn published(shards: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(shards).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        // The lock and staged files are not published.
        if name.starts_with('.') {
            continue;
        }
        let mut content = std::fs::read(entry.path()).unwrap();
        if name == "manifest.json" {
            let mut manifest: serde_json::Value = serde_json::from_slice(&content).unwrap();
            manifest.as_object_mut().unwrap().remove("created_at");
            content = manifest.to_string().into_bytes();
        }
        files.insert(name, content);
    }
    files
}
