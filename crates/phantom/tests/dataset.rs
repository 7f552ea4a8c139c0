//! Tests of the dataset as its readers see it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use ossify_contract::Split;
use ossify_phantom::leak::LeakKind;
use ossify_phantom::{PLANTED_FILE, Parameters, Planted, existing, generate};

const SMALL: Parameters = Parameters {
    images: Parameters::MIN_IMAGES_FOR_ALL_FAULTS,
    seed: 7,
    labels_only: false,
    leaks: 0,
};

fn make(folder: &Path, parameters: &Parameters, threads: usize) -> Planted {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| generate(folder, parameters, &|_| {})).unwrap()
}

/// Every file below a folder with its bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(
                    path.strip_prefix(folder).unwrap().to_path_buf(),
                    fs::read(&path).unwrap(),
                );
            }
        }
    }
    found
}

#[test]
fn bytes_do_not_depend_on_threads() {
    let home = tempfile::tempdir().unwrap();
    let (one, three) = (home.path().join("one"), home.path().join("three"));
    assert_eq!(make(&one, &SMALL, 1), make(&three, &SMALL, 3));
    assert!(files(&one) == files(&three));
}

#[test]
fn planted_counts_are_those_of_the_files() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("phantom");
    let planted = make(&root, &SMALL, 2);
    assert_eq!(planted.splits.values().map(|split| split.images).sum::<u64>(), SMALL.images);
    for split in Split::ALL {
        let counts = &planted.splits[&split];
        let images = fs::read_dir(root.join(format!("{split}/images"))).unwrap().count() as u64;
        let labels = files(&root.join(format!("{split}/labels")));
        assert_eq!((images, labels.len() as u64), (counts.images, counts.labels));
        assert_eq!(
            counts.images,
            counts.labelled + counts.background + counts.unlabelled + counts.unreadable
        );
        let ledger = &planted.ledger[&split];
        assert!(ledger.adds_up());
        let lines = labels
            .values()
            .map(|bytes| {
                String::from_utf8_lossy(bytes)
                    .lines()
                    .filter(|line| !line.trim().is_empty())
                    .count() as u64
            })
            .sum::<u64>();
        assert_eq!(lines, ledger.lines);
        let empty = labels.values().filter(|bytes| bytes.is_empty()).count() as u64;
        assert_eq!(empty, counts.background);
        assert_eq!(counts.objects_per_class.iter().sum::<u64>(), ledger.boxes + ledger.polygons);
    }
    let train = &planted.splits[&Split::Train];
    assert_eq!(train.objects_per_class[3], Parameters::RARE_TRAIN_OBJECTS as u64);
    assert_eq!(planted.rare_threshold.0, train.objects_per_class[3] + 1);
    assert_eq!(planted.ledger[&Split::Train].rare_filtered, train.objects_per_class[3]);
    assert!(planted.ledger[&Split::Train].boxes > 0);
}

#[test]
fn what_was_not_planted_is_sound() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("phantom");
    let planted = make(&root, &SMALL, 2);
    let is_planted = |path: &str, line: usize| {
        planted
            .faults
            .iter()
            .any(|fault| fault.path == path && fault.line.is_none_or(|at| at as usize == line))
    };
    for (path, bytes) in files(&root)
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|ending| ending == "txt"))
    {
        let path = path.to_string_lossy().replace('\\', "/");
        for (i, line) in String::from_utf8_lossy(bytes).lines().enumerate() {
            if is_planted(&path, i + 1) || line.trim().is_empty() {
                continue;
            }
            let values: Vec<f64> =
                line.split_whitespace().map(|token| token.parse().unwrap()).collect();
            assert!(values[0].fract() == 0.0 && values[0] < 7.0, "{path}: {line}");
            assert!(
                values.len() == 5 || (values.len() >= 7 && values.len() % 2 == 1),
                "{path}: {line}"
            );
            assert!(values[1..].iter().all(|value| (0.0..=1.0).contains(value)), "{path}: {line}");
        }
    }
    for fault in &planted.faults {
        let is_there = root.join(&fault.path).is_file();
        assert!(is_there, "{}", fault.path);
    }
}

#[test]
fn images_are_of_the_format_and_size_they_are_said_to_be() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("phantom");
    let planted = make(&root, &SMALL, 2);
    let mut kinds: Vec<&str> =
        planted.special_images.iter().map(|image| image.what.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(
        kinds,
        ["jpeg-cut-short", "jpeg-exif-rotated", "jpeg-gray", "png-16-bit", "png-8-bit"]
    );
    for special in &planted.special_images {
        let bytes = fs::read(root.join(&special.path)).unwrap();
        let decoded = image::load_from_memory(&bytes)
            .map(|image| (image.width() as usize, image.height() as usize));
        match special.what.as_str() {
            "jpeg-cut-short" => assert!(!bytes.ends_with(&[0xff, 0xd9])),
            "jpeg-exif-rotated" => assert_eq!(decoded.unwrap(), (special.height, special.width)),
            _ => assert_eq!(decoded.unwrap(), (special.width, special.height)),
        }
    }
    let ordinary = files(&root.join("valid/images"));
    for (path, bytes) in &ordinary {
        let image = image::load_from_memory(bytes).unwrap();
        let (short, long) = (image.width().min(image.height()), image.width().max(image.height()));
        assert!(
            short >= 300 && long <= 640 && short < long,
            "{}: {short} x {long}",
            path.display()
        );
    }
}

#[test]
fn leaks_stand_beside_an_unchanged_dataset_and_in_its_books() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("phantom");
    let parameters = Parameters { images: 120, leaks: 14, ..SMALL };
    let plain = make(&home.path().join("plain"), &Parameters { leaks: 0, ..parameters }, 2);
    let planted = make(&root, &parameters, 2);
    assert_eq!(existing(&root, &parameters), Some(planted.clone()));
    assert_eq!(existing(&root, &Parameters { leaks: 0, ..parameters }), None);
    assert_eq!((&planted.faults, &planted.ledger), (&plain.faults, &plain.ledger));
    assert_eq!(planted.leaks.len(), 14);
    for leak in &planted.leaks {
        let label = leak.path.replace("/images/", "/labels/");
        let label = Path::new(&label).with_extension("txt");
        assert_eq!(fs::read(root.join(label)).unwrap(), b"");
        let [bytes, original] =
            [&leak.path, &leak.original].map(|path| fs::read(root.join(path)).unwrap());
        let [pixels, original_pixels] =
            [&bytes, &original].map(|bytes| image::load_from_memory(bytes).unwrap().into_luma8());
        assert_eq!(pixels.dimensions(), original_pixels.dimensions());
        let (has_same_bytes, has_same_pixels) = (bytes == original, pixels == original_pixels);
        let is_as_said = match leak.kind {
            LeakKind::Copied => has_same_bytes,
            LeakKind::Repacked => !has_same_bytes && has_same_pixels,
            _ => !has_same_pixels,
        };
        assert!(is_as_said, "{leak:?}");
    }
    for split in [Split::Valid, Split::Test] {
        let (with, without) = (&planted.splits[&split], &plain.splits[&split]);
        assert_eq!(
            (with.images, with.labels, with.background),
            (without.images + 7, without.labels + 7, without.background + 7)
        );
        assert_eq!(
            fs::read_dir(root.join(format!("{split}/images"))).unwrap().count() as u64,
            with.images
        );
    }
    assert_eq!(planted.splits[&Split::Train], plain.splits[&Split::Train]);
}

#[test]
fn a_dataset_is_recognised_repaired_and_replaced() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("phantom");
    let labels_only = Parameters { labels_only: true, ..SMALL };
    let planted = make(&root, &labels_only, 2);
    let whole = files(&root);
    assert_eq!(existing(&root, &labels_only), Some(planted.clone()));
    assert_eq!(existing(&root, &SMALL), None);

    let label =
        root.join(fs::read_dir(root.join("valid/labels")).unwrap().next().unwrap().unwrap().path());
    fs::write(&label, "0 .5 .5 .25 .25 and so on").unwrap();
    assert_eq!(existing(&root, &labels_only), None);
    // What a killed process left behind is removed.
    let partial = home.path().join(".phantom.partial/train/images");
    fs::create_dir_all(&partial).unwrap();
    fs::write(partial.join("half.jpg"), "half").unwrap();
    assert_eq!(make(&root, &labels_only, 2), planted);
    assert!(files(&root) == whole);

    let other = make(&root, &Parameters { seed: 8, ..labels_only }, 2);
    assert_ne!(other, planted);
    assert!(fs::read_dir(home.path()).unwrap().count() == 2, "the dataset and its lock");
}

#[test]
fn the_smallest_dataset_has_all_common_classes_in_train() {
    let home = tempfile::tempdir().unwrap();
    let planted =
        make(&home.path().join("tiny"), &Parameters { images: Parameters::MIN_IMAGES, ..SMALL }, 2);
    let train = &planted.splits[&Split::Train];
    assert!(train.images > 0 && train.labelled >= 4, "{train:?}");
}

#[test]
fn only_the_planted_class_is_rare_in_the_demo() {
    let home = tempfile::tempdir().unwrap();
    let planted =
        make(&home.path().join("demo"), &Parameters { images: 600, labels_only: true, ..SMALL }, 2);
    let (min, max) = planted.rare_threshold;
    assert!(min == 4 && max >= 10, "{:?}", planted.splits);
}

#[test]
fn labels_are_the_same_without_pictures() {
    let home = tempfile::tempdir().unwrap();
    let (drawn, bare) = (home.path().join("drawn"), home.path().join("bare"));
    make(&drawn, &SMALL, 2);
    make(&bare, &Parameters { labels_only: true, ..SMALL }, 2);
    // Faults of pictures are only planted if there are pictures, which can affect whether a file's
    // last line has a line break.
    let lines = |root: &Path| -> Vec<_> {
        files(&root.join("train/labels"))
            .into_iter()
            .map(|(path, content)| (path, content.trim_ascii_end().to_vec()))
            .collect()
    };
    assert!(lines(&drawn) == lines(&bare));
}

#[test]
fn a_folder_of_something_else_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("thesis.tex"), "all my work").unwrap();
    let error = generate(home.path(), &SMALL, &|_| {}).unwrap_err().to_string();
    assert!(error.contains("thesis.tex") && error.contains("nothing was changed"), "{error}");
    assert_eq!(fs::read(home.path().join("thesis.tex")).unwrap(), b"all my work");
}

#[test]
fn the_program_prints_what_it_planted_and_does_nothing_twice() {
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        Command::cargo_bin("ossify-phantom")
            .unwrap()
            .current_dir(home.path())
            .args(["--dataset", "p", "--labels-only"])
            .args(args)
            .output()
            .unwrap()
    };
    let first = run(&["--images", "80", "--seed", "3"]);
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let printed: Planted = serde_json::from_slice(&first.stdout).unwrap();
    let written: Planted =
        serde_json::from_slice(&fs::read(home.path().join("p").join(PLANTED_FILE)).unwrap())
            .unwrap();
    assert_eq!(printed, written);
    let second = run(&["--images", "80", "--seed", "3"]);
    assert!(String::from_utf8_lossy(&second.stderr).contains("already there"));
    assert_eq!(first.stdout, second.stdout);
    let few = run(&["--images", "10"]);
    assert_eq!(few.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&few.stderr).contains("between 20 and 10000000"));
    for too_many in ["10000001", "9223372036854775807", "18446744073709551615"] {
        let output = run(&["--images", too_many]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{too_many}: {error}");
        assert!(
            error.contains("between 20 and 10000000") || error.contains("18446744073709551615"),
            "{error}"
        );
    }
}

#[test]
fn links_are_written_through_and_planted_ones_are_not_followed() {
    use std::os::unix::fs::symlink;
    let home = tempfile::tempdir().unwrap();
    let small = Parameters { labels_only: true, ..SMALL };
    let (folder, link) = (home.path().join("large-disk/phantom"), home.path().join("phantom"));
    fs::create_dir_all(&folder).unwrap();
    symlink(&folder, &link).unwrap();
    generate(&link, &small, &|_| {}).unwrap();
    assert!(link.is_symlink() && folder.join(PLANTED_FILE).is_file());
    // Another dataset replaces it through the link, too.
    generate(&link, &Parameters { seed: 9, ..small }, &|_| {}).unwrap();
    assert!(link.is_symlink() && existing(&folder, &Parameters { seed: 9, ..small }).is_some());

    let dangling = home.path().join("dangling");
    symlink("nowhere", &dangling).unwrap();
    generate(&dangling, &small, &|_| {}).unwrap_err();
    assert!(dangling.is_symlink());
    let mine = home.path().join("mine");
    fs::write(&mine, "all my work").unwrap();
    symlink(&mine, home.path().join(".other.lock")).unwrap();
    generate(&home.path().join("other"), &small, &|_| {}).unwrap_err();
    assert_eq!(fs::read(&mine).unwrap(), b"all my work");
    generate(Path::new("/dev/null"), &small, &|_| {}).unwrap_err();
}
