//! A detector is trained from tables and shards to its folder.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(missing_docs)]

mod common;

use burn::tensor::Device;
use common::{Work, model, reaches, step_of, stop, tensors, text, timeless};
use ossify_contract::EpochMetrics;
use ossify_model::{HeadConfig, ModelConfig, Network, weights};
use ossify_vocabulary::{Architecture, Normalization};

/// Everything whose state could be lost: a frozen phase, sampling, augmentation, averages, and the
/// end of mosaics and mixed images.
const RECIPE: [&str; 19] = [
    "task=\"detect\"",
    "mode=\"finetune\"",
    "finetune.frozen_epochs=1",
    "epochs=5",
    "sampler.kind=\"balanced\"",
    "detect.background_share=0.8",
    "augment.flip=true",
    "augment.rotation=15.0",
    "augment.scale=0.2",
    "augment.noise=0.05",
    "augment.cutout=0.2",
    "augment.mosaic=0.5",
    "augment.mixup=0.3",
    "augment.plain_share=0.4",
    "optimizer.kind=\"adamw\"",
    "optimizer.clip_scope=\"global\"",
    "optimizer.ema_decay=0.8",
    "checkpoint.every_steps=1",
    "--quiet",
];

fn trained(work: &Work, recipe: &[&str]) -> String {
    let output = work.train(recipe).output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    said
}

fn outcome(work: &Work) -> (Vec<u8>, Vec<EpochMetrics>) {
    (model(work), timeless(work.metrics()))
}

#[test]
fn a_detector_learns_from_all_images_and_the_best_epoch_is_that_of_ap() {
    let work = Work::of_many(96, 32);
    let recipe = [
        "task=\"detect\"",
        "epochs=16",
        "optimizer.learning_rate=0.004",
        "augment.flip=true",
        "augment.mosaic=0.3",
        "augment.mixup=0.2",
        "augment.plain_share=0.3",
        "--json",
    ];
    let output = work.train(&recipe).output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("96 train and 32 valid images of 2 classes"), "{said}");
    assert!(said.contains("24 and 8 of the images show nothing"), "{said}");
    assert!(said.contains("from epoch 12 on there are no mosaics and no mixed images"), "{said}");
    let metrics = work.metrics();
    assert_eq!(metrics.len(), 16);
    for metrics in &metrics {
        let valid = metrics.valid.unwrap();
        assert_eq!((metrics.train.rows, valid.rows), (96, 32), "backgrounds included");
        assert!((valid.accuracy, valid.mean_iou) == (None, None), "scores of a classifier");
        for score in [valid.ap, valid.ap50, valid.auroc] {
            assert!((0.0..=1.0).contains(&score.unwrap()), "{valid:?}");
        }
        assert!(valid.ap <= valid.ap50);
    }
    let ap = |metrics: &EpochMetrics| metrics.valid.unwrap().ap.unwrap();
    let best = metrics.iter().reduce(|best, other| if ap(other) > ap(best) { other } else { best });
    let best = best.unwrap();
    let valid = best.valid.unwrap();
    assert!(valid.ap50.unwrap() > 0.5 && valid.auroc.unwrap() > 0.9, "{metrics:#?}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["summary"]["best_epoch"].as_u64(), Some(u64::from(best.epoch)));
}

#[test]
fn a_detector_that_is_killed_ends_as_an_undisturbed_one() {
    let undisturbed = Work::of_many(48, 12);
    trained(&undisturbed, &RECIPE);
    let expected = outcome(&undisturbed);
    let steps = expected.1.last().unwrap().step;
    assert!(expected.1.iter().all(|metrics| metrics.batches_xxh3.len() == 16));

    let killed = Work::of_many(48, 12);
    let mut at = Vec::new();
    for (kill, share) in [0.07, 0.3, 0.5, 0.7, 0.9].into_iter().enumerate() {
        let step = ((steps as f64 * share) as u64).max(step_of(&killed) + 1);
        let mut child = killed.train(&RECIPE).spawn().unwrap();
        if !reaches(&mut child, &killed, step) {
            break;
        }
        stop(&mut child, kill % 2 == 0);
        let state = killed.last_state().unwrap();
        at.push((state["epoch"].as_u64().unwrap(), state["batches"].as_u64().unwrap()));
    }
    trained(&killed, &RECIPE);
    eprintln!("killed after (epochs, batches): {at:?} of {steps} steps");
    assert!(at.len() >= 3 && at.iter().filter(|(_, batches)| *batches > 0).count() >= 2, "{at:?}");
    assert_eq!(outcome(&killed).1, expected.1);
    assert!(outcome(&killed).0 == expected.0, "other weights after kills at {at:?}");
}

/// The weights follow the rounding of sums, which libtorch divides among its threads.
#[test]
fn whatever_the_number_of_threads_a_detector_sees_the_same_batches() {
    let of = |threads: &str| {
        let work = Work::of_many(32, 8);
        let mut command = work.train(&[&RECIPE[..], &["epochs=3"]].concat());
        assert!(command.env("OSSIFY__GENERAL__THREADS", threads).status().unwrap().success());
        work.metrics()
    };
    let [one, three] = ["1", "3"].map(of);
    for (one, three) in one.iter().zip(&three) {
        assert_eq!((&one.batches_xxh3, one.step), (&three.batches_xxh3, three.step));
        let [one, three] = [one, three].map(|metrics| metrics.valid.unwrap().loss);
        assert!((one / three - 1.0).abs() < 0.01, "{one} and {three}");
    }
}

#[test]
fn the_pyramid_on_a_pretrained_backbone_learns_first_and_then_all() {
    let work = Work::of_many(8, 4);
    let config = ModelConfig {
        architecture: Architecture::DenseNet121,
        classes: 2,
        head: HeadConfig::Classifier { widths: Vec::new(), dropout: 0.0 },
        input_px: 32,
        normalization: Normalization::ImageNet,
    };
    // With torchvision's names.
    let network = Network::new(&config, 7, &Device::flex()).unwrap();
    let class_names = ["class 0", "class 1"].map(str::to_owned).to_vec();
    let file = work.path().join("densenet121.safetensors");
    weights::save(&file, &network, &weights::Metadata { config, class_names }).unwrap();
    let recipe = [
        "task=\"detect\"",
        "mode=\"finetune\"",
        "batch_size=2",
        "model.architecture=\"densenet121\"",
        &format!("model.weights={file:?}"),
        "schedule.kind=\"constant\"",
        "finetune.frozen_epochs=2",
        "finetune.learning_rate=0.002",
    ];
    let backbone_of = |epochs: &str| {
        let said = trained(&work, &[&recipe[..], &[epochs]].concat());
        let last = work.run_folder().join("checkpoints/last/checkpoint.safetensors");
        let mut found = tensors(&last);
        found.retain(|name, _| name.starts_with("model.backbone."));
        (said, found)
    };
    let (said, first) = backbone_of("epochs=2");
    assert!(said.contains("604 tensors loaded, 0 missing"), "{said}");
    let (trained, pretrained) = (work.tensors(), tensors(&file));
    let mut backbone = pretrained.iter().filter(|(name, _)| name.starts_with("features."));
    assert!(backbone.all(|(name, bytes)| &trained[name] == bytes), "the backbone is frozen");
    let (said, then) = backbone_of("epochs=5");
    assert!(said.contains("continues after step 8 (epoch 2)"), "{said}");
    assert_eq!(work.metrics().last().unwrap().step, 20);
    let learnt = first.iter().filter(|(name, bytes)| &then[*name] != *bytes).count();
    assert!(first.len() >= 604 && learnt * 10 > first.len() * 9, "{learnt} of {}", first.len());
}

#[test]
fn mosaics_and_mixed_images_end_before_the_run_does() {
    let of = |more: &[&str]| {
        let work = Work::of_many(24, 8);
        let said = trained(&work, &[&["task=\"detect\"", "epochs=4"], more].concat());
        (said, outcome(&work))
    };
    let composed = ["augment.mosaic=0.6", "augment.mixup=0.4"];
    let (said, never) = of(&[]);
    assert!(!said.contains("plain_share"), "{said}");
    let (said, always_plain) = of(&[&composed[..], &["augment.plain_share=1"]].concat());
    assert!(said.contains("from epoch 1 on there are no mosaics and no mixed images"), "{said}");
    assert!(always_plain == never, "plain epochs are those of a run without either");
    let (said, half) = of(&[&composed[..], &["augment.plain_share=0.5"]].concat());
    assert!(said.contains("from epoch 3 on there are no mosaics"), "{said}");
    let (said, composed) = of(&[&composed[..], &["augment.plain_share=0"]].concat());
    assert!(!said.contains("plain_share"), "{said}");
    let digests = |(_, metrics): &(_, Vec<EpochMetrics>)| {
        metrics.iter().map(|metrics| metrics.batches_xxh3.clone()).collect::<Vec<_>>()
    };
    let (half, composed, never) = (digests(&half), digests(&composed), digests(&never));
    assert_eq!(half[..2], composed[..2]);
    assert_ne!(half[2], composed[2]);
    assert_ne!(half[0], never[0]);
}

#[test]
fn limits_are_part_of_a_run_whose_mosaics_they_end() {
    let work = Work::of_many(16, 4);
    let of = |more: &[&str]| {
        let short = ["task=\"detect\"", "epochs=1", "schedule.kind=\"constant\""];
        trained(&work, &[&short[..], more].concat());
        work.run_folder()
    };
    let mosaic = of(&["augment.mosaic=0.5", "stopping.max_minutes=50"]);
    assert_ne!(of(&["augment.mosaic=0.5", "stopping.max_minutes=60"]), mosaic);
    let plain = of(&["stopping.max_minutes=50"]);
    assert_eq!(of(&["stopping.max_minutes=60"]), plain);
}

#[test]
fn a_preview_shows_mosaics_and_mixed_images_with_their_boxes() {
    let work = Work::of_many(8, 4);
    let recipe = ["task=\"detect\"", "augment.shift=0", "augment.brightness=0", "--preview"];
    let sheet = |more: &[&str]| {
        trained(&work, &[&recipe[..], more].concat());
        image::open(work.out().join("preview.png")).unwrap().to_rgb8()
    };
    let composed = sheet(&["augment.mosaic=0.5", "augment.mixup=0.5"]);
    // Eight samples, each as it is and in seven epochs.
    assert_eq!(composed.dimensions(), (8 * 164 + 4, 8 * 164 + 4));
    let framed = |column: u32, row: u32| {
        let cell =
            image::imageops::crop_imm(&composed, column * 164, row * 164, 164, 164).to_image();
        cell.pixels().any(|pixel| pixel.0 == [240, 228, 66])
    };
    // The first and the fifth are backgrounds, and get boxes from others.
    for row in [0, 4] {
        assert!(!framed(0, row) && (1..8).any(|column| framed(column, row)), "row {row}");
    }
    assert!(composed != sheet(&["augment.flip=true"]));
}
