//! From a run and images to a predictions table.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::{ImageBuffer, Rgb};
use ossify_contract::{
    ImagePredictionRow, Manifest, PredictionRow, PredictionsSummary, Publication, Row, ShardRow,
    ShardShape, ShardWriter, Split, Transform, read_table, shard_file_name, write_latest,
};
use ossify_imaging::{decode, to_tensor};
use ossify_model::{HeadConfig, ModelConfig, Network, weights};
use ossify_settings::{ResizeSettings, Settings};
use ossify_vocabulary::{
    Architecture, Channels, DeviceChoice, Filter, Geometry, Limits, Normalization,
    ShardCompression, Task, TensorSpec,
};
use serde_json::json;

const SIDE: u32 = 48;
const IMAGES_PER_SHARD: usize = 5;
const RUN: &str = "densenet-compact-0123abcd";

/// A run with random weights, pictures of several proportions, and their shards.
struct Work {
    folder: tempfile::TempDir,
}

impl Work {
    fn new(valid: usize, test: usize) -> Self {
        let work = Work { folder: tempfile::tempdir().unwrap() };
        work.write_run(1);
        let pictures = work.pictures();
        std::fs::create_dir_all(&pictures).unwrap();
        for i in 0..valid + test {
            let (width, height) = (40 + 7 * i as u32, 90 - 2 * i as u32);
            let picture = ImageBuffer::from_fn(width, height, |x, y| {
                Rgb([(x * 3) as u8, (y * 2 + i as u32 * 9) as u8, (x + y) as u8])
            });
            picture.save(pictures.join(format!("{i:02}.png"))).unwrap();
        }
        work.write_shards(valid, test);
        work
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn pictures(&self) -> PathBuf {
        self.folder.path().join("pictures")
    }

    /// The folder of the predictions of the images at a path.
    fn of_images(&self, path: &Path) -> String {
        let start = format!("{RUN}-images-{}-", path.file_name().unwrap().to_string_lossy());
        let folders = std::fs::read_dir(self.out().join("predictions")).unwrap();
        let names = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let found: Vec<String> = names.filter(|name| name.starts_with(&start)).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    }

    fn write_run(&self, seed: u64) {
        self.write_network(seed, HeadConfig::Classifier { widths: vec![8], dropout: 0.5 }, 24);
    }

    /// A run of a detector instead.
    fn write_detector(&self, seed: u64) {
        self.write_network(seed, HeadConfig::Detector { channels: 8 }, 48);
    }

    fn write_network(&self, seed: u64, head: HeadConfig, input_px: usize) {
        let config = ModelConfig {
            architecture: Architecture::DenseNetCompact,
            classes: 3,
            head,
            input_px,
            normalization: Normalization::ImageNet,
        };
        let device = ossify_model::device::choose(DeviceChoice::Flex).unwrap();
        let model = Network::new(&config, seed, &device.inference()).unwrap();
        let publication = Publication::begin(self.out().join("runs").join(RUN)).unwrap();
        let class_names = ["wrist", "elbow", "hand"].map(String::from).to_vec();
        weights::save(
            &publication.stage("model.safetensors").unwrap(),
            &model,
            &weights::Metadata { config, class_names },
        )
        .unwrap();
        let settings = Settings {
            resize: ResizeSettings { side_px: SIDE, ..Default::default() },
            ..Default::default()
        };
        publication.write("config.toml", toml::to_string(&settings).unwrap().as_bytes()).unwrap();
        let files = ["model.safetensors", "config.toml"]
            .map(|file| publication.describe(file, None).unwrap())
            .to_vec();
        publication.commit("train", "test", files, json!({})).unwrap();
        write_latest(&self.out().join("runs"), RUN).unwrap();
    }

    fn write_shards(&self, valid: usize, test: usize) {
        self.write_changed_shards(valid, test, |tensor| tensor);
    }

    fn write_changed_shards(&self, valid: usize, test: usize, change: impl Fn(Vec<u8>) -> Vec<u8>) {
        let spec = TensorSpec {
            side_px: SIDE,
            channels: Channels::Rgb,
            geometry: Geometry::Stretch,
            filter: Filter::Bilinear,
            antialias: true,
        };
        let publication = Publication::begin(self.out().join("shards")).unwrap();
        let mut files = Vec::new();
        for (split, range) in [(Split::Valid, 0..valid), (Split::Test, valid..valid + test)] {
            for (number, shard) in range.collect::<Vec<_>>().chunks(IMAGES_PER_SHARD).enumerate() {
                let name = shard_file_name(split, number);
                let mut writer = ShardWriter::create(
                    publication.stage(&name).unwrap(),
                    ShardShape { height: SIDE, width: SIDE, channels: 3 },
                    ShardCompression::None,
                )
                .unwrap();
                for i in shard {
                    let bytes = std::fs::read(self.pictures().join(format!("{i:02}.png"))).unwrap();
                    let pixels = decode(&bytes, &Limits::of_pixels(1_000_000)).unwrap();
                    let (tensor, transform) = to_tensor(&pixels, &spec).unwrap();
                    let tensor = change(tensor);
                    let row = ShardRow::new(
                        format!("{split}/images/{i:02}.png"),
                        pixels.size(),
                        transform,
                        &tensor,
                    );
                    writer.write(&[row], tensor).unwrap();
                }
                files.push(writer.finish(&name).unwrap());
            }
        }
        publication.commit("resize", "test", files, json!({})).unwrap();
    }

    fn predict(&self, more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ossify-predict"));
        command
            .arg("--out")
            .arg(self.out())
            .args(["--set", "predict.batch_size=4", "--json"])
            .args(more);
        command.output().unwrap()
    }

    fn rows(&self, folder: &str, file: &str) -> Vec<PredictionRow> {
        self.table(folder, file)
    }

    fn looked_at(&self, folder: &str, file: &str) -> Vec<ImagePredictionRow> {
        self.table(folder, file)
    }

    fn summary(&self, folder: &str) -> PredictionsSummary {
        let folder = self.out().join("predictions").join(folder);
        Manifest::open(&folder, "").unwrap().summary_of(&folder).unwrap()
    }

    fn table<R: Row>(&self, folder: &str, file: &str) -> Vec<R> {
        let folder = self.out().join("predictions").join(folder);
        Manifest::open(&folder, "").unwrap();
        read_table(folder.join(file)).unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn succeeds(output: Output) -> String {
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    said
}

fn fails(output: &Output, code: i32, words: &str) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(words), "`{words}` is not in: {said}");
}

#[test]
fn every_image_of_the_shards_has_one_row_in_order() {
    let work = Work::new(5, 3);
    succeeds(work.predict(&[]));
    let rows = work.rows(RUN, "valid.parquet");
    assert_eq!(
        rows.iter().map(|row| row.image_id.as_str()).collect::<Vec<_>>(),
        (0..5).map(|i| format!("valid/images/{i:02}.png")).collect::<Vec<_>>()
    );
    assert_eq!(work.rows(RUN, "test.parquet").len(), 3);
    for row in &rows {
        assert_eq!((row.rank, row.split, row.probabilities.len()), (1, Split::Valid, 3));
        assert!((row.probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert_eq!(row.class_name, ["wrist", "elbow", "hand"][row.class_index as usize]);
        assert_eq!(row.score, row.probabilities[row.class_index as usize]);
        assert!(
            0.0 <= row.xmin
                && row.xmin <= row.xmax
                && row.xmax <= 1.0
                && 0.0 <= row.ymin
                && row.ymin <= row.ymax
                && row.ymax <= 1.0
        );
    }
    assert_eq!(
        std::fs::read_to_string(work.out().join("predictions/latest")).unwrap(),
        format!("{RUN}\n")
    );
}

#[test]
fn every_image_that_was_looked_at_is_listed_beside_the_predictions() {
    let work = Work::new(7, 3);
    std::fs::write(work.pictures().join("08.png"), "no picture").unwrap();
    let pictures = work.pictures();
    succeeds(work.predict(&[]));
    succeeds(work.predict(&["--images", pictures.to_str().unwrap()]));
    let of_folder = work.of_images(&pictures);
    for (folder, stem, images) in [(RUN, "valid", 7), (RUN, "test", 3), (&of_folder, "images", 9)] {
        let rows = work.rows(folder, &format!("{stem}.parquet"));
        let looked_at = work.looked_at(folder, &format!("{stem}.images.parquet"));
        assert_eq!(looked_at.len(), images);
        for (row, image) in rows.iter().zip(&looked_at) {
            assert_eq!((&row.image_id, row.split), (&image.image_id, image.split));
            assert_eq!((image.score, image.class_scores.len(), image.detections), (None, 0, 1));
        }
        let summary = work.summary(folder);
        assert_eq!(summary.task, Some(Task::Classify));
        assert_eq!(summary.images[stem], images as u64);
        assert_eq!(summary.images_with_findings[stem], images as u64);
    }
}

#[test]
fn a_second_run_does_nothing_until_the_model_changes() {
    let work = Work::new(5, 0);
    assert!(succeeds(work.predict(&[])).contains("test: no images"));
    let before = work.rows(RUN, "valid.parquet");
    assert!(succeeds(work.predict(&[])).contains("already there"));
    work.write_run(2);
    assert!(!succeeds(work.predict(&[])).contains("already there"));
    assert_ne!(work.rows(RUN, "valid.parquet"), before);
}

#[test]
fn a_run_with_nothing_to_do_writes_nothing() {
    use std::os::unix::fs::MetadataExt as _;
    let work = Work::new(2, 0);
    succeeds(work.predict(&[]));
    let predictions = work.out().join("predictions");
    let written = || {
        ["", "latest", RUN]
            .map(|name| std::fs::metadata(predictions.join(name)).unwrap())
            .map(|found| (found.ino(), found.ctime(), found.ctime_nsec()))
    };
    let before = written();
    assert!(succeeds(work.predict(&[])).contains("already there"));
    assert_eq!(written(), before);
}

#[test]
fn with_flip_a_mirrored_image_gets_the_mirrored_box_and_the_same_class() {
    let work = Work::new(6, 0);
    succeeds(work.predict(&[]));
    let plain = work.rows(RUN, "valid.parquet");
    let flip = ["--set", "predict.flip=true"];
    assert!(!succeeds(work.predict(&flip)).contains("already there"));
    let rows = work.rows(RUN, "valid.parquet");
    assert!(plain.iter().zip(&rows).all(|(plain, row)| plain.probabilities != row.probabilities
        && plain.unit_box() != row.unit_box()));

    work.write_changed_shards(6, 0, mirrored);
    succeeds(work.predict(&flip));
    for (row, mirrored) in rows.iter().zip(work.rows(RUN, "valid.parquet")) {
        assert_eq!((&row.image_id, row.class_index), (&mirrored.image_id, mirrored.class_index));
        assert!(
            row.probabilities
                .iter()
                .zip(&mirrored.probabilities)
                .all(|(a, b)| (a - b).abs() < 1e-6),
            "{row:?} and {mirrored:?}"
        );
        let found = [mirrored.xmin, mirrored.ymin, mirrored.xmax, mirrored.ymax];
        let expected = [1.0 - row.xmax, row.ymin, 1.0 - row.xmin, row.ymax];
        assert!(
            found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6),
            "{row:?} and {mirrored:?}"
        );
    }
    work.write_shards(6, 0);
    succeeds(work.predict(&[]));
    assert_eq!(work.rows(RUN, "valid.parquet"), plain);
}

#[test]
fn a_detector_finds_several_things_on_an_image_or_none() {
    let work = Work::new(6, 2);
    work.write_detector(1);
    let all = ["--set", "predict.min_score=0"];
    succeeds(work.predict(&all));
    let images = work.looked_at(RUN, "valid.images.parquet");
    let rows = work.rows(RUN, "valid.parquet");
    assert_eq!(images.len(), 6);
    assert_eq!(images.iter().map(|image| image.detections as usize).sum::<usize>(), rows.len());
    for image in &images {
        let of_image: Vec<_> = rows.iter().filter(|row| row.image_id == image.image_id).collect();
        assert!((2..=100).contains(&of_image.len()), "{} rows", of_image.len());
        assert!(of_image.iter().zip(1..).all(|(row, rank)| row.rank == rank));
        assert!(of_image.is_sorted_by(|better, worse| better.score >= worse.score));
        assert!(of_image.iter().all(|row| row.probabilities.is_empty()));
        assert_eq!(image.score, Some(of_image[0].score));
        assert_eq!(image.class_scores.len(), 3);
        for (class, score) in image.class_scores.iter().enumerate() {
            let mut of_class =
                of_image.iter().filter(|row| row.class_index as usize == class).peekable();
            assert!(of_class.peek().is_none_or(|best| best.score == *score));
            for (number, row) in of_class.clone().enumerate() {
                let mut better = of_class.clone().take(number);
                assert!(better.all(|better| better.unit_box().iou(&row.unit_box()) <= 0.6));
            }
        }
    }
    let summary = work.summary(RUN);
    assert_eq!(summary.task, Some(Task::Detect));
    assert_eq!((summary.images["valid"], summary.images_with_findings["valid"]), (6, 6));

    succeeds(work.predict(&[&all[..], &["--set", "predict.max_detections=2"]].concat()));
    let best: Vec<_> = rows.iter().filter(|row| row.rank <= 2).cloned().collect();
    assert_eq!(work.rows(RUN, "valid.parquet"), best);

    // Nothing reaches a score of 1, and each image keeps the scores that it has.
    succeeds(work.predict(&["--set", "predict.min_score=1"]));
    assert_eq!(work.rows(RUN, "valid.parquet"), []);
    let nothing = work.looked_at(RUN, "valid.images.parquet");
    let without =
        |image: &ImagePredictionRow| ImagePredictionRow { detections: 0, ..image.clone() };
    assert_eq!(nothing, images.iter().map(without).collect::<Vec<_>>());
    let summary = work.summary(RUN);
    assert_eq!((summary.images["valid"], summary.images_with_findings["valid"]), (6, 0));
}

#[test]
fn with_flip_a_detector_finds_the_mirror_image_of_what_it_finds() {
    let work = Work::new(4, 0);
    work.write_detector(1);
    let flip = ["--set", "predict.flip=true", "--set", "predict.min_score=0"];
    succeeds(work.predict(&["--set", "predict.min_score=0"]));
    let plain = work.looked_at(RUN, "valid.images.parquet");
    succeeds(work.predict(&flip));
    let images = work.looked_at(RUN, "valid.images.parquet");
    assert!(plain.iter().zip(&images).all(|(plain, image)| plain.score != image.score));
    let best = || {
        let rows = work.rows(RUN, "valid.parquet");
        rows.into_iter().filter(|row| row.rank == 1).collect::<Vec<_>>()
    };
    let rows = best();
    work.write_changed_shards(4, 0, mirrored);
    succeeds(work.predict(&flip));
    for (image, mirrored) in images.iter().zip(work.looked_at(RUN, "valid.images.parquet")) {
        let pairs = image.class_scores.iter().zip(&mirrored.class_scores);
        assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-6), "{image:?} {mirrored:?}");
    }
    for (row, mirrored) in rows.iter().zip(best()) {
        let found = [mirrored.xmin, mirrored.ymin, mirrored.xmax, mirrored.ymax];
        let expected = [1.0 - row.xmax, row.ymin, 1.0 - row.xmin, row.ymax];
        let close = |(found, expected): (f32, f32)| (found - expected).abs() < 1e-5;
        assert!(found.into_iter().zip(expected).all(close), "{row:?} and {mirrored:?}");
    }
}

#[test]
fn parts_of_a_detector_merge_into_what_is_predicted_at_once() {
    let work = Work::new(13, 6);
    work.write_detector(1);
    // Some images have several rows, and some none.
    succeeds(work.predict(&["--set", "predict.min_score=0"]));
    let mut scores: Vec<f32> = ["valid", "test"]
        .iter()
        .flat_map(|split| work.looked_at(RUN, &format!("{split}.images.parquet")))
        .map(|image| image.score.unwrap())
        .collect();
    scores.sort_by(f32::total_cmp);
    let arguments = ["--set", &format!("predict.min_score={}", scores[scores.len() / 2])];
    let run = |more: &[&str]| work.predict(&[&arguments[..], more].concat());
    succeeds(run(&[]));
    let folder = work.out().join("predictions").join(RUN);
    let whole = published(&folder);
    let summary = work.summary(RUN);
    let with_findings = summary.images_with_findings.values().sum::<u64>();
    assert!((1..19).contains(&with_findings), "{with_findings}");
    for count in [1, 3] {
        std::fs::remove_dir_all(work.out().join("predictions")).unwrap();
        for number in 1..=count {
            succeeds(run(&["--partition", &format!("{number}/{count}")]));
        }
        succeeds(run(&["--merge", &count.to_string()]));
        assert!(published(&folder) == whole, "{count}");
    }
}

/// A tensor's mirror image.
fn mirrored(tensor: Vec<u8>) -> Vec<u8> {
    let line = SIDE as usize * 3;
    tensor
        .chunks_exact(line)
        .flat_map(|line| line.as_chunks::<3>().0.iter().rev())
        .flatten()
        .copied()
        .collect()
}

/// The manifest but for the time, and the tables' bytes.
fn published(folder: &Path) -> (Manifest, Vec<Vec<u8>>) {
    let manifest = Manifest { created_at: String::new(), ..Manifest::open(folder, "").unwrap() };
    let tables =
        manifest.files.iter().map(|file| std::fs::read(folder.join(&file.path)).unwrap()).collect();
    (manifest, tables)
}

#[test]
fn parts_of_all_shares_merge_into_what_is_predicted_at_once() {
    let work = Work::new(23, 12);
    let arguments = ["--set", "predict.batch_size=4"];
    let run = |more: &[&str]| work.predict(&[&arguments[..], more].concat());
    succeeds(run(&[]));
    let folder = work.out().join("predictions").join(RUN);
    let whole = published(&folder);
    for count in [1, 2, 3, 20] {
        std::fs::remove_dir_all(work.out().join("predictions")).unwrap();
        for number in (1..=count).rev() {
            succeeds(run(&["--partition", &format!("{number}/{count}")]));
        }
        succeeds(run(&["--merge", &count.to_string()]));
        assert!(published(&folder) == whole, "{count}");
        assert!(succeeds(run(&["--partition", &format!("1/{count}")])).contains("already there"));
        assert!(succeeds(run(&["--merge", &count.to_string()])).contains("already there"));
        assert!(succeeds(run(&[])).contains("already there"));
        fails(&run(&["--merge", "7"]), 1, "7 parts are not there");
        assert_eq!(
            std::fs::read_to_string(work.out().join("predictions/latest")).unwrap(),
            format!("{RUN}\n")
        );
    }
    work.write_run(2);
    fails(&run(&["--merge", "2"]), 1, "part 1/2 was made with another configuration, run");
    fails(&run(&["--merge", "4"]), 1, "4 parts are not there (1/4, 2/4, 3/4, 4/4)");
    fails(
        &run(&["--partition", "1/2", "--images", work.pictures().to_str().unwrap()]),
        2,
        "--partition and --merge are for shards",
    );
    succeeds(run(&["--partition", "1/2"]));
    succeeds(run(&["--partition", "2/2"]));
    let part = work.out().join("parts/predict/2/2");
    damage(&part.join(&Manifest::open(&part, "").unwrap().files[0].path));
    fails(&run(&["--merge", "2"]), 1, "not the bytes that manifest.json says");
    succeeds(run(&["--partition", "2/2", "--force"]));
    succeeds(run(&["--merge", "2"]));
}

#[test]
fn a_folder_of_images_is_predicted_as_the_shards_are() {
    let work = Work::new(6, 0);
    succeeds(work.predict(&[]));
    let pictures = work.pictures();
    std::fs::create_dir(pictures.join("more")).unwrap();
    std::fs::rename(pictures.join("05.png"), pictures.join("more/05.PNG")).unwrap();
    std::fs::write(pictures.join("notes.txt"), "no image").unwrap();
    succeeds(work.predict(&["--images", pictures.to_str().unwrap()]));
    let (of_shards, of_images) = (
        work.rows(RUN, "valid.parquet"),
        work.rows(&work.of_images(&work.pictures()), "images.parquet"),
    );
    assert_eq!(
        of_images.iter().map(|row| row.image_id.as_str()).collect::<Vec<_>>(),
        ["00.png", "01.png", "02.png", "03.png", "04.png", "more/05.PNG"]
    );
    for (a, b) in of_shards.iter().zip(&of_images) {
        assert_eq!(a.class_index, b.class_index);
        assert!(a.probabilities.iter().zip(&b.probabilities).all(|(a, b)| (a - b).abs() < 1e-5));
        assert!(
            a.unit_box()
                .to_array()
                .iter()
                .zip(b.unit_box().to_array())
                .all(|(a, b)| (a - b).abs() < 1e-5)
        );
    }
    assert!(
        succeeds(work.predict(&["--images", pictures.to_str().unwrap()])).contains("already there")
    );
}

#[test]
fn each_folder_of_images_has_predictions_of_its_own() {
    let work = Work::new(5, 0);
    let (here, there) = (work.pictures(), work.folder.path().join("more/pictures"));
    std::fs::create_dir_all(&there).unwrap();
    for name in ["00.png", "01.png"] {
        std::fs::rename(here.join(name), there.join(name)).unwrap();
    }
    succeeds(work.predict(&["--images", here.to_str().unwrap()]));
    let of_here = work.of_images(&here);
    let rows = work.rows(&of_here, "images.parquet");
    assert_eq!(rows.len(), 3);
    assert_eq!(work.summary(&of_here).source.as_deref(), here.to_str());
    succeeds(work.predict(&["--images", there.to_str().unwrap()]));
    // The same folder by another path is the same.
    let link = work.folder.path().join("link");
    std::os::unix::fs::symlink(&here, &link).unwrap();
    assert!(succeeds(work.predict(&["--images", link.to_str().unwrap()])).contains("already"));
    assert_eq!(work.rows(&of_here, "images.parquet"), rows);
    let predictions = std::fs::read_dir(work.out().join("predictions")).unwrap();
    let ids = predictions.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(ids.filter(|id| id.starts_with(RUN)).count(), 2);
}

#[test]
fn one_image_is_predicted_whatever_its_ending() {
    let work = Work::new(3, 0);
    let (folder, image) = (work.pictures(), work.folder.path().join("image"));
    std::fs::copy(folder.join("01.png"), &image).unwrap();
    succeeds(work.predict(&["--images", folder.to_str().unwrap()]));
    let of_folder = work.rows(&work.of_images(&folder), "images.parquet");
    for path in [&folder.join("01.png"), &image] {
        succeeds(work.predict(&["--images", path.to_str().unwrap()]));
        let rows = work.rows(&work.of_images(path), "images.parquet");
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(rows.iter().map(|row| row.image_id.as_str()).collect::<Vec<_>>(), [name]);
        // Batches of other sizes differ in their last digits.
        let edges = |row: &PredictionRow| row.unit_box().to_array();
        let close = |(a, b): (f32, f32)| (a - b).abs() < 1e-5;
        assert!(edges(&rows[0]).into_iter().zip(edges(&of_folder[1])).all(close));
    }
    std::fs::write(&image, "no image").unwrap();
    fails(&work.predict(&["--images", image.to_str().unwrap()]), 1, "none of the 1 images");
}

#[test]
fn overlays_are_pictures_of_the_images_with_their_boxes() {
    let work = Work::new(3, 0);
    let pictures = work.pictures();
    std::fs::create_dir(pictures.join("more")).unwrap();
    std::fs::rename(pictures.join("02.png"), pictures.join("more/02.png")).unwrap();
    std::fs::write(pictures.join("broken.png"), "no image").unwrap();
    fails(&work.predict(&["--overlays"]), 2, "--overlays draws on the images of --images");
    // Of shards, nothing is drawn.
    succeeds(work.predict(&["--set", "predict.overlays=true"]));
    let images = ["--images", pictures.to_str().unwrap()];
    succeeds(work.predict(&images));
    let id = work.of_images(&pictures);
    let folder = work.out().join("predictions").join(&id);
    let files = || -> Vec<String> {
        let manifest = Manifest::open(&folder, "").unwrap();
        manifest.files.into_iter().map(|file| file.path).collect()
    };
    let tables = ["images.images.parquet", "images.parquet"];
    assert_eq!(files(), tables);
    succeeds(work.predict(&[&images[..], &["--overlays"]].concat()));
    let overlays = ["overlays/00.png.jpg", "overlays/01.png.jpg", "overlays/more/02.png.jpg"];
    assert_eq!(files(), [&tables[..], &overlays].concat());
    for (row, overlay) in work.rows(&id, "images.parquet").iter().zip(overlays) {
        let source = image::open(pictures.join(&row.image_id)).unwrap().to_rgb8();
        let drawn = image::open(folder.join(overlay)).unwrap().to_rgb8();
        assert_eq!(drawn.dimensions(), source.dimensions());
        // The frame is orange, and nothing in the pictures is; JPEG blurs it.
        let orange = drawn.enumerate_pixels().filter(|(_, _, Rgb([red, green, blue]))| {
            *red > 180 && (90..220).contains(green) && *blue < 90
        });
        let (left, right) = orange.fold((f32::MAX, 0.0), |(left, right), (x, _, _)| {
            (f32::min(left, x as f32), f32::max(right, x as f32))
        });
        assert!(left < right, "{overlay}: nothing is drawn");
    }
    assert!(succeeds(work.predict(&[&images[..], &["--overlays"]].concat())).contains("already"));
    succeeds(work.predict(&images));
    assert_eq!(files(), tables);
    assert!(!folder.join(overlays[0]).exists());
}

#[test]
fn of_the_configuration_of_an_earlier_version_only_the_tensors_matter() {
    let work = Work::new(2, 0);
    let pictures = work.pictures();
    let images = ["--images", pictures.to_str().unwrap()];
    succeeds(work.predict(&images));
    let expected = work.rows(&work.of_images(&work.pictures()), "images.parquet");
    let run = work.out().join("runs").join(RUN);
    let republish = |change: &dyn Fn(&mut toml::Table)| {
        let text = std::fs::read_to_string(run.join("config.toml")).unwrap();
        let mut config: toml::Table = toml::from_str(&text).unwrap();
        change(config["resize"].as_table_mut().unwrap());
        config.insert("train".into(), "other keys".into());
        let publication = Publication::begin(&run).unwrap();
        let text = toml::to_string(&config).unwrap();
        publication.write("config.toml", text.as_bytes()).unwrap();
        let model = Manifest::read(&run).unwrap().unwrap().file("model.safetensors").cloned();
        let files = vec![publication.describe("config.toml", None).unwrap(), model.unwrap()];
        publication.commit("train", "test", files, json!({})).unwrap();
    };
    republish(&|resize| {
        let later = ["max_failed_share", "max_leaks", "max_pixels", "max_memory_bytes"];
        assert!(later.iter().all(|key| resize.remove(*key).is_some()));
    });
    succeeds(work.predict(&[&images[..], &["--force"]].concat()));
    assert_eq!(work.rows(&work.of_images(&work.pictures()), "images.parquet"), expected);
    republish(&|resize| assert!(resize.remove("filter").is_some()));
    let output = work.predict(&images);
    fails(&output, 1, "train again with ossify-train, or name another run with predict.run");
    fails(&output, 1, "does not say how this version of ossify makes the tensors");
    fails(&output, 1, "(missing field `filter`)");
}

#[test]
fn a_run_may_lack_files_that_prediction_does_not_read() {
    let work = Work::new(2, 0);
    let run = work.out().join("runs").join(RUN);
    std::fs::remove_file(run.join("config.toml")).unwrap();
    succeeds(work.predict(&[]));
    let pictures = work.pictures();
    let images = ["--images", pictures.to_str().unwrap()];
    fails(&work.predict(&images), 1, "run ossify-train again with --force");
    std::fs::remove_file(run.join("model.safetensors")).unwrap();
    fails(&work.predict(&[]), 1, "run ossify-train again with --force");
}

#[test]
fn an_image_that_cannot_be_read_is_reported_and_a_gate_when_strict() {
    let work = Work::new(3, 0);
    std::fs::write(work.pictures().join("01.png"), "no picture").unwrap();
    let folder = work.pictures();
    let images = ["--images", folder.to_str().unwrap()];
    assert!(succeeds(work.predict(&images)).contains("01.png"));
    assert_eq!(work.rows(&work.of_images(&work.pictures()), "images.parquet").len(), 2);
    for more in [&["--strict"][..], &[], &["--strict", "--force"], &[], &["--strict"]] {
        let output = work.predict(&[&images[..], more].concat());
        if more.contains(&"--strict") {
            fails(&output, 3, "1 images could not be read");
        } else {
            assert!(succeeds(output).contains("already there"));
        }
    }
}

#[test]
fn links_in_a_circle_and_names_that_are_not_utf_8_cost_themselves_alone() {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;
    let work = Work::new(2, 0);
    let folder = work.pictures();
    symlink(&folder, folder.join("around")).unwrap();
    symlink(folder.join("nowhere"), folder.join("dangling.png")).unwrap();
    symlink(folder.join("nowhere"), folder.join("dangling")).unwrap();
    std::fs::copy(folder.join("00.png"), folder.join("q\u{FFFD}.png")).unwrap();
    let name = std::ffi::OsStr::from_bytes(b"q\xFF.png");
    std::fs::copy(folder.join("01.png"), folder.join(name)).unwrap();
    let said = succeeds(work.predict(&["--images", folder.to_str().unwrap()]));
    assert!(said.contains("around is a link to a folder around it"), "{said}");
    assert!(said.contains("q\\xFF.png: its name is not UTF-8"), "{said}");
    assert!(said.contains("dangling.png: "), "{said}");
    let rows = work.rows(&work.of_images(&work.pictures()), "images.parquet");
    let ids: Vec<&str> = rows.iter().map(|row| row.image_id.as_str()).collect();
    assert_eq!(ids, ["00.png", "01.png", "q\u{FFFD}.png"]);
    let of = |id: &str| rows.iter().find(|row| row.image_id == id).unwrap().score;
    assert_eq!(of("q\u{FFFD}.png"), of("00.png"));
}

#[test]
fn shards_are_more_than_files_may_be_open() {
    let work = Work::new(1, 0);
    let publication = Publication::begin(work.out().join("shards")).unwrap();
    let shape = ShardShape { height: SIDE, width: SIDE, channels: 3 };
    let mut files = Vec::new();
    for number in 0..80 {
        let name = shard_file_name(Split::Valid, number);
        let path = publication.stage(&name).unwrap();
        let mut writer = ShardWriter::create(path, shape, ShardCompression::None).unwrap();
        let tensor = vec![number as u8; shape.bytes()];
        let transform = Transform { scale_x: 1.0, scale_y: 1.0, offset_x: 0.0, offset_y: 0.0 };
        let id = format!("valid/images/{number:03}.png");
        writer.write(&[ShardRow::new(id, (SIDE, SIDE), transform, &tensor)], tensor).unwrap();
        files.push(writer.finish(&name).unwrap());
    }
    publication.commit("resize", "test", files, json!({})).unwrap();
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 40; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_ossify-predict")])
        .arg("--out")
        .arg(work.out())
        .output()
        .unwrap();
    succeeds(output);
    assert_eq!(work.rows(RUN, "valid.parquet").len(), 80);
}

#[test]
fn what_is_missing_is_named_with_what_to_do() {
    let work = Work::new(2, 0);
    fails(&work.predict(&["--set", "predict.run=\"nowhere\""]), 2, "there is no run `nowhere`");
    fails(&work.predict(&["--set", "predict.run=\"../runs\""]), 2, "is not the id of a run");
    fails(
        &work.predict(&["--images", "/nowhere"]),
        2,
        "there is no /nowhere; name a folder of images, or an image",
    );
    fails(&work.predict(&["--set", "predict.splits=[\"test\"]"]), 1, "has no image of test");
    let empty = tempfile::tempdir().unwrap();
    fails(
        &work.predict(&["--images", empty.path().to_str().unwrap()]),
        1,
        "has no image; known are",
    );
    damage(&work.out().join("runs").join(RUN).join("model.safetensors"));
    fails(&work.predict(&[]), 1, "not the bytes that manifest.json says");
    std::fs::remove_dir_all(work.out().join("runs")).unwrap();
    fails(&work.predict(&[]), 1, "run ossify-train first");
}

fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}
