//! Small datasets for tests, and the binary run on them.

#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::Output;

use ossify_contract::{ClassRow, ImageRow, IssueRow, Manifest, ObjectRow, read_table};
use tempfile::TempDir;

pub const NAMES: &str =
    "train: ../train/images\nval: ../valid/images\nnames: [elbow, forearm, wrist]\n";

/// A dataset in a temporary folder, with a work folder beside it.
pub struct Dataset {
    folder: TempDir,
}

impl Dataset {
    /// An empty folder.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        Dataset { folder }
    }

    /// Three train images (box, polygon, background) and one valid image, without faults.
    pub fn small() -> Self {
        let dataset = Dataset::new();
        dataset.write("data.yaml", NAMES);
        dataset.pair("train/images/a.png", "0 0.5 0.5 0.2 0.1\n1 0.3 0.3 0.1 0.1\n");
        dataset.pair("train/images/b.png", "2 0.1 0.1 0.3 0.1 0.3 0.3 0.1 0.3\n");
        dataset.pair("train/images/c.png", "");
        dataset.pair("valid/images/d.png", "1 0.5 0.5 0.2 0.1\n");
        dataset
    }

    /// The small dataset with a fault of most kinds.
    pub fn faulty() -> Self {
        let dataset = Dataset::small();
        dataset.write(
            "train/labels/a.txt",
            "0 0.5 0.5 0.2 0.1\n9 0.5 0.5 0.2 0.1\n2 1.0427 \
            0.5180 0.2200 0.1350\n0 0.5 0.5 0.2 0.1 0.87\n",
        );
        dataset.write(
            "train/labels/b.txt",
            "2 0.1 0.1 0.3 0.1 0.3 0.3 0.1 0.3\n1 0.95 0.5 0.2 0.1\nwrist 0.5 0.5 0.2 0.1\n",
        );
        dataset.write("train/labels/orphan.txt", "0 0.5 0.5 0.2 0.1\n\n1 0.5 0.5 0.2 0.1\n");
        dataset.image("train/images/unlabelled.png", 20, 30);
        dataset.pair("train/images/tiny.png", "0 0.5 0.5 0.2 0.1\n");
        dataset.image("train/images/tiny.png", 4, 30);
        dataset.pair("train/images/cut.png", "0 0.5 0.5 0.2 0.1\n");
        let whole = std::fs::read(dataset.path().join("train/images/cut.png")).unwrap();
        dataset.write("train/images/cut.png", &whole[..whole.len() - 8]);
        dataset.pair("train/images/twin.png", "0 0.5 0.5 0.2 0.1\n");
        dataset.image("train/images/twin.bmp", 20, 30);
        dataset
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    pub fn tables(&self) -> PathBuf {
        self.out().join("tables")
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let full = self.path().join(path);
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::fs::write(full, content).unwrap();
    }

    /// Writes an image in the format of the extension.
    pub fn image(&self, path: &str, width: u32, height: u32) {
        let full = self.path().join(path);
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        image::GrayImage::new(width, height).save(full).unwrap();
    }

    /// Writes an image of 20x30 pixels and its label file.
    pub fn pair(&self, image: &str, label: impl AsRef<[u8]>) {
        self.image(image, 20, 30);
        self.write(&ossify_contract::label_path(image), label);
    }

    /// Runs the binary on the dataset.
    pub fn ingest(&self, arguments: &[&str]) -> Output {
        ingest(&self.path(), &self.out(), arguments)
    }

    pub fn images(&self) -> Vec<ImageRow> {
        read_table(self.tables().join("images.parquet")).unwrap()
    }

    pub fn objects(&self) -> Vec<ObjectRow> {
        read_table(self.tables().join("objects.parquet")).unwrap()
    }

    pub fn issues(&self) -> Vec<IssueRow> {
        read_table(self.tables().join("issues.parquet")).unwrap()
    }

    pub fn classes(&self) -> Vec<ClassRow> {
        read_table(self.tables().join("classes.parquet")).unwrap()
    }

    pub fn manifest(&self) -> Manifest {
        Manifest::open(&self.tables(), "").unwrap()
    }

    /// Standard error with the paths of this test replaced.
    pub fn portable(&self, text: &[u8]) -> String {
        String::from_utf8_lossy(text)
            .replace(&self.folder.path().canonicalize().unwrap().display().to_string(), "[TMP]")
            .replace(&self.folder.path().display().to_string(), "[TMP]")
    }
}

/// Runs the binary.
pub fn ingest(dataset: &Path, out: &Path, arguments: &[&str]) -> Output {
    command(dataset, out, arguments).output().unwrap()
}

pub fn command(dataset: &Path, out: &Path, arguments: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("ossify-ingest"));
    command.env("NO_COLOR", "1").env("COLUMNS", "100");
    command.arg("--dataset").arg(dataset).arg("--out").arg(out).args(arguments);
    command
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// The bytes of all tables.
pub fn table_bytes(tables: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(tables)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    let is_output = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "parquet" || extension == "html")
    };
    files
        .into_iter()
        .filter(is_output)
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read(&path).unwrap(),
            )
        })
        .collect()
}
