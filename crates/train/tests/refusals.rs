//! What cannot be trained is refused with the reason and the right exit code.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(missing_docs)]

mod common;

use common::{Work, text};
use ossify_contract::Split;

fn refused(work: &Work, more: &[&str], code: i32, words: &str) {
    let output = work.train(more).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(words), "`{words}` is not in: {said}");
    assert!(!work.out().join("runs").join("latest").exists());
}

#[test]
fn missing_tables_and_shards_name_the_stage_to_run() {
    let work = Work::new(4, 2);
    std::fs::remove_dir_all(work.out().join("shards")).unwrap();
    refused(&work, &[], 1, "run ossify-resize first");
    std::fs::remove_dir_all(work.out().join("tables")).unwrap();
    refused(&work, &[], 1, "run ossify-ingest first");
}

#[test]
fn a_class_without_a_sample_is_named() {
    let work = Work::new(4, 2);
    work.write_tables(&[(Split::Train, 0), (Split::Train, 2)], 2);
    refused(&work, &[], 1, "no training sample of `class 1`");
}

#[test]
fn an_empty_train_split_and_no_class_at_all_are_told_apart() {
    let work = Work::new(4, 2);
    work.write_tables(&[(Split::Valid, 0)], 2);
    refused(&work, &[], 1, "the train split has no sample");
    work.write_tables(&[(Split::Train, 0)], 0);
    refused(&work, &[], 1, "no class is kept");
}

#[test]
fn shards_that_lack_an_image_are_older_than_the_tables() {
    let work = Work::new(4, 2);
    work.write_tables(&(0..6).map(|i| (Split::Train, i)).collect::<Vec<_>>(), 2);
    refused(&work, &[], 1, "the shards are older than the tables, run ossify-resize again");
}

#[test]
fn a_damaged_shard_is_not_trained_on() {
    let work = Work::new(4, 2);
    let shard = work.out().join("shards").join("train-00000.arrow");
    let mut bytes = std::fs::read(&shard).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    refused(&work, &[], 1, "train-00000.arrow: not the bytes that manifest.json says");
}

#[test]
fn what_does_not_fit_together_is_a_usage_error() {
    let work = Work::new(4, 2);
    refused(
        &work,
        &["model.weights=\"imagenet\"", "mode=\"finetune\""],
        2,
        "for torchvision's networks alone",
    );
    refused(&work, &["model.weights=\"weights.pth\""], 2, "starts from random weights");
    refused(&work, &["finetune.frozen_epochs=2"], 2, "are for train.mode = \"finetune\"");
    refused(
        &work,
        &["mode=\"finetune\"", "finetune.from_block=4"],
        2,
        "densenet-compact has 3 dense blocks",
    );
    refused(&work, &["loss.classification_weight=0", "loss.box_weight=0"], 2, "nothing to learn");
    refused(&work, &["mode=\"frozen\""], 2, "so images cannot vary");
    for key in ["mosaic", "mixup"] {
        refused(
            &work,
            &[&format!("augment.{key}=0.5")],
            2,
            &format!(
                "train.augment.{key} makes samples of several images, and with train.task = \
                 \"classify\" each has one object: set it to 0, or train.task = \"detect\""
            ),
        );
        refused(
            &work,
            &["task=\"detect\"", &format!("augment.{key}=1.5")],
            2,
            &format!("train.augment.{key} = 1.5: it should lie between 0 and 1"),
        );
    }
    refused(
        &work,
        &["augment.plain_share=-0.1"],
        2,
        "train.augment.plain_share = -0.1: it should lie between 0 and 1",
    );
    refused(&work, &["model.input_px=8"], 2, "needs at least");
    refused(&work, &["optimiser=\"sgd\""], 2, "did you mean the table [train.optimizer]?");
}

#[test]
fn a_head_that_no_memory_holds_is_a_usage_error() {
    let work = Work::new(4, 2);
    let widths = vec!["65536"; 16].join(", ");
    refused(
        &work,
        &[&format!("model.head_widths=[{widths}]")],
        2,
        "weights between its layers at most (1 GiB)",
    );
    refused(&work, &["model.head_widths=[9223372036854775807]"], 2, "head_widths");
}

#[test]
fn a_gpu_that_is_not_there_is_no_reason_to_use_the_processor() {
    let work = Work::new(4, 2);
    refused(&work, &["device=\"cuda:63\""], 1, "cuda:63");
}

#[test]
fn a_precision_that_the_device_lacks_is_refused() {
    let work = Work::new(4, 2);
    let processor = if cfg!(feature = "libtorch") { "cpu" } else { "flex" };
    refused(
        &work,
        &[&format!("device=\"{processor}\""), "precision=\"bf16\""],
        1,
        "cannot compute in bf16: only CUDA devices do",
    );
    refused(
        &work,
        &["device=\"flex\"", "precision=\"tf32\""],
        1,
        "set train.precision to \"float32\"",
    );
    refused(&work, &["precision=\"fp16\""], 2, "tf32");
}

#[test]
fn a_weight_file_that_does_not_fit_is_refused() {
    let work = Work::new(4, 2);
    std::fs::write(work.path().join("weights.pth"), "no weights").unwrap();
    refused(&work, &["model.weights=\"weights.pth\"", "mode=\"finetune\""], 1, "weights.pth");
    refused(&work, &["model.weights=\"nowhere.pth\"", "mode=\"finetune\""], 1, "nowhere.pth");
}

#[test]
fn offline_the_three_ways_to_pretrained_weights_are_named() {
    let work = Work::new(4, 2);
    let more =
        ["model.architecture=\"densenet121\"", "model.weights=\"imagenet\"", "mode=\"finetune\""];
    let output =
        work.train(&more).env("OSSIFY_WEIGHTS_URL", "http://127.0.0.1:9").output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for way in ["connect and run again", "by hand", "train.model.weights = \"none\""] {
        assert!(said.contains(way), "{said}");
    }
}

#[test]
fn a_mirror_of_pretrained_weights_that_cannot_be_one_is_a_usage_error() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let work = Work::new(4, 2);
    let more =
        ["model.architecture=\"densenet121\"", "model.weights=\"imagenet\"", "mode=\"finetune\""];
    for (url, words) in [
        (OsStr::from_bytes(b"http://\xff.example"), "OSSIFY_WEIGHTS_URL: \"http://\\xFF.example\""),
        (OsStr::new(""), "densenet121-a639ec97.pth"),
        (OsStr::new("no address"), "no address/densenet121-a639ec97.pth"),
    ] {
        let output = work.train(&more).env("OSSIFY_WEIGHTS_URL", url).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(words), "`{words}` is not in: {said}");
    }
}

#[test]
fn an_input_larger_than_the_tensors_says_so() {
    let work = Work::new(4, 2);
    for more in [&["model.input_px=64"][..], &["model.input_px=64", "--preview"]] {
        refused(&work, more, 2, "cannot be enlarged: lower it, or make larger shards");
    }
}

#[test]
fn any_number_of_images_that_could_not_be_decoded_may_be_missing() {
    let work = Work::new(4, 2);
    let good: Vec<(Split, usize)> =
        (0..4).map(|i| (Split::Train, i)).chain((0..2).map(|i| (Split::Valid, i))).collect();
    let bad: Vec<(Split, usize)> = (10..1511).map(|i| (Split::Train, i)).collect();
    work.write_tables(&[&good[..], &bad].concat(), 2);
    let whole = |count: usize| count.max(1);
    let listed = |count| {
        let ids = bad.iter().take(count).map(|(split, i)| common::image_id(*split, *i));
        work.write_shards_without(&good, whole, |_| common::STRETCH, ids);
    };
    listed(1500);
    refused(&work, &[], 1, "1 labelled images of train are not in the shards, the first is");
    listed(1501);
    let output = work.train(&["epochs=1"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}
