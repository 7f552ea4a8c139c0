//! A run from tables and shards to its folder.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(missing_docs)]

mod common;

use std::os::unix::fs::MetadataExt as _;

use common::{STRETCH, Work, text, timeless};
use ossify_contract::{Manifest, Split, Transform};

#[test]
fn a_run_leaves_what_the_contract_says_and_a_second_one_does_nothing() {
    let work = Work::new(24, 11);
    let output = work.train(&["--json"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let folder = work.run_folder();
    let manifest = Manifest::open(&folder, "").unwrap();
    for file in [
        "config.toml",
        "environment.json",
        "metrics.jsonl",
        "model.safetensors",
        "curves.svg",
        "tensorboard/events.out.tfevents.ossify",
        "checkpoints/best/checkpoint.safetensors",
    ] {
        assert!(manifest.file(file).is_some(), "{file}");
    }
    let metrics = work.metrics();
    assert_eq!(metrics.iter().map(|metrics| metrics.epoch).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(
        metrics.iter().all(|metrics| metrics.train.rows == 24 && metrics.valid.unwrap().rows == 11)
    );
    assert!(metrics[2].train.loss < metrics[0].train.loss, "{metrics:#?}");
    assert_eq!(metrics[2].step, 9);

    let again = work.train(&["--json"]).output().unwrap();
    assert!(text(&again.stderr).contains("already there"), "{}", text(&again.stderr));
    assert_eq!(Manifest::read(&folder).unwrap().unwrap(), manifest);
}

#[test]
fn the_same_seed_gives_the_same_model_and_another_seed_another() {
    let model = |seed: &str| {
        let work = Work::new(16, 6);
        let output = work.train(&["epochs=2"]).env("OSSIFY__GENERAL__SEED", seed).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        (
            std::fs::read(work.run_folder().join("model.safetensors")).unwrap(),
            timeless(work.metrics()),
        )
    };
    let first = model("1");
    assert!(first == model("1"));
    assert!(first != model("2"));
}

#[test]
fn objects_outside_of_the_tensor_are_left_out_and_told_of() {
    let work = Work::new(16, 6);
    let images: Vec<_> =
        (0..16).map(|i| (Split::Train, i)).chain((0..6).map(|i| (Split::Valid, i))).collect();
    // The tensor shows the right half of every fourth image at twice the width: what is on the left
    // is outside.
    let right = Transform { scale_x: 1.0, offset_x: -32.0, ..STRETCH };
    let shown = |i: usize| if i % 4 < 2 { right } else { STRETCH };
    work.write_shards_of(&images, |count| count, shown);
    for samples in ["object", "image"] {
        let output =
            work.train(&[&format!("sampler.unit=\"{samples}\""), "--json"]).output().unwrap();
        let said = text(&output.stderr);
        assert!(output.status.success(), "{said}");
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let outside = summary["summary"]["outside_objects"].as_u64().unwrap();
        // Even images have their square on the left.
        assert_eq!(outside, 4 + 2, "{said}");
        assert!(said.contains("4 objects of train are left out"), "{said}");
        assert_eq!(work.metrics()[0].train.rows, 12);
    }
}

#[test]
fn a_valid_loss_that_is_not_finite_is_an_error() {
    let work = Work::new(16, 6);
    // One step an epoch: its weights meet the valid split before they meet train.
    let recipe = [
        "epochs=20",
        "batch_size=16",
        "optimizer.kind=\"sgd\"",
        "optimizer.learning_rate=10",
        "loss.l2=1e6",
        "optimizer.clip_norm=0",
    ];
    let output = work.train(&recipe).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the valid loss became NaN or infinite in epoch"), "{said}");
    assert!(!work.out().join("runs/latest").exists());
}

#[test]
fn a_finished_run_is_found_without_writing_anything() {
    let work = Work::new(8, 4);
    assert!(work.train(&["--quiet"]).status().unwrap().success());
    let state = || {
        let mut found = Vec::new();
        let mut folders = vec![work.out()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap().flatten() {
                let metadata = entry.metadata().unwrap();
                if metadata.is_dir() {
                    folders.push(entry.path());
                }
                found.push((entry.path(), metadata.ino(), metadata.mtime_nsec()));
            }
        }
        found.sort();
        found
    };
    let before = state();
    assert!(work.train(&["--quiet"]).status().unwrap().success());
    assert_eq!(state(), before);
}

#[test]
fn frozen_features_are_computed_once_and_used_by_later_runs() {
    let work = Work::new(16, 6);
    let recipe = ["mode=\"frozen\"", "augment.shift=0", "augment.brightness=0"];
    let first = work.train(&recipe).output().unwrap();
    let said = text(&first.stderr);
    assert!(first.status.success(), "{said}");
    assert!(
        said.contains("computed once for 22 images")
            && said.contains("a frozen backbone with random weights"),
        "{said}"
    );
    let other =
        work.train(&[&recipe[..], &["optimizer.learning_rate=0.005"]].concat()).output().unwrap();
    assert!(
        text(&other.stderr).contains("features of the frozen backbone: taken from"),
        "{}",
        text(&other.stderr)
    );
    assert_eq!(std::fs::read_dir(work.out().join("features")).unwrap().count(), 1);
}

#[test]
fn a_changed_cache_of_features_is_computed_again() {
    let work = Work::new(16, 6);
    let recipe = ["mode=\"frozen\"", "augment.shift=0", "augment.brightness=0"];
    assert!(work.train(&recipe).output().unwrap().status.success());
    let model = std::fs::read(work.run_folder().join("model.safetensors")).unwrap();
    let cache =
        std::fs::read_dir(work.out().join("features")).unwrap().next().unwrap().unwrap().path();
    let chunk = cache.join("train-00000.f32");
    let bytes = std::fs::read(&chunk).unwrap();
    std::fs::write(&chunk, vec![0; bytes.len()]).unwrap();
    let again = work.train(&[&recipe[..], &["--force"]].concat()).output().unwrap();
    assert!(text(&again.stderr).contains("computed once"), "{}", text(&again.stderr));
    assert!(std::fs::read(&chunk).unwrap() == bytes);
    assert!(std::fs::read(work.run_folder().join("model.safetensors")).unwrap() == model);
}

#[test]
fn a_frozen_phase_and_a_fine_tuning_from_a_block_on_leave_the_blocks_before_it_alone() {
    let work = Work::new(16, 6);
    // The head hardly learns in the frozen phase, so that no epoch of it is the best one.
    let recipe = [
        "mode=\"finetune\"",
        "epochs=2",
        "finetune.frozen_epochs=1",
        "optimizer.learning_rate=1e-9",
        "finetune.from_block=2",
        "finetune.learning_rate=0.01",
        "schedule.kind=\"cosine\"",
        "checkpoint.best_by=\"loss\"",
    ];
    let output = work.train(&recipe).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let first = work.tensors();
    assert!(work.train(&[&recipe[..], &["epochs=4"]].concat()).status().unwrap().success());
    let second = work.tensors();
    let is_still = |name: &str| {
        ["features.conv0.", "features.norm0.", "features.denseblock1."]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    };
    let changed: Vec<bool> = first.iter().map(|(name, bytes)| bytes != &second[name]).collect();
    for ((name, _), changed) in first.iter().zip(changed) {
        assert_eq!(changed, !is_still(name), "{name}");
    }
    assert!(first.keys().any(|name| is_still(name)));
}

#[test]
fn each_recipe_learns_to_tell_left_from_right() {
    let base = [
        "epochs=6",
        "stopping.train_accuracy=0.0",
        "augment.shift=0.0",
        "augment.brightness=0.0",
        "model.dropout=0.0",
    ];
    let recipes: [&[&str]; 3] = [
        &[
            "optimizer.kind=\"adamw\"",
            "optimizer.epsilon=\"torch\"",
            "optimizer.clip_scope=\"global\"",
            "loss.box_distance=\"smooth-l1\"",
            "loss.giou_weight=1.0",
            "sampler.kind=\"balanced\"",
        ],
        &[
            "optimizer.kind=\"sgd\"",
            "optimizer.learning_rate=0.02",
            "loss.class_weights=\"balanced\"",
            "loss.label_smoothing=0.05",
            "schedule.kind=\"plateau\"",
            "schedule.plateau_patience=1",
        ],
        &[
            "augment.rotation=10.0",
            "augment.scale=0.1",
            "augment.contrast=0.2",
            "augment.noise=0.02",
            "augment.cutout=0.1",
            "checkpoint.best_by=\"loss\"",
        ],
    ];
    for recipe in recipes {
        let work = Work::new(48, 16);
        let output = work.train(&[&base[..], recipe].concat()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let metrics = work.metrics();
        assert!(
            metrics.iter().any(|metrics| metrics.train.accuracy.unwrap() > 0.8),
            "{recipe:?}: {metrics:#?}"
        );
        assert!(
            metrics
                .iter()
                .all(|metrics| metrics.train.rows == 48 && metrics.valid.unwrap().rows == 16)
        );
    }
}

#[test]
fn the_best_epoch_is_left_behind_and_patience_ends_a_run() {
    let work = Work::new(16, 6);
    let output = work
        .train(&[
            "epochs=50",
            "stopping.patience=2",
            "stopping.min_delta=0.5",
            "checkpoint.best_by=\"accuracy\"",
            "--json",
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let metrics = work.metrics();
    assert!(metrics.len() < 50, "patience ended it");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let best = summary["summary"]["best_epoch"].as_u64().unwrap() as usize;
    let accuracy = |index: usize| metrics[index].valid.unwrap().accuracy.unwrap();
    assert!((0..metrics.len()).all(|index| accuracy(index) <= accuracy(best - 1)));
    assert!(summary["summary"]["stopped"].as_str().unwrap().ends_with("(train.stopping.patience)"));
}

#[test]
fn a_summary_and_a_preview_train_nothing() {
    let work = Work::new(8, 4);
    let output = work.train(&["--summary"]).output().unwrap();
    let said = text(&output.stderr);
    assert!(
        output.status.success()
            && said.contains("features.denseblock3.denselayer6")
            && said.contains("epochs 1 to 3: "),
        "{said}"
    );

    let output = work
        .train(&["augment.rotation=20.0", "augment.flip=true", "augment.cutout=0.2", "--preview"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let sheet = image::open(work.out().join("preview.png")).unwrap().to_rgb8();
    // Eight samples, each as it is and in seven epochs, 32 pixels enlarged to 160, 4 between them.
    assert_eq!(sheet.dimensions(), (8 * 164 + 4, 8 * 164 + 4));
    let frames = sheet.pixels().filter(|pixel| pixel.0 == [240, 228, 66]).count();
    assert!(frames > 64 * 100, "boxes are drawn: {frames}");
    assert!(!work.out().join("runs").exists());
}
