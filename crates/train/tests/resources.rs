//! What a run takes of the machine is bounded, and what it lacks is an error in words.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(missing_docs)]

mod common;

use std::process::{Command, Output, Stdio};

use common::{STRETCH, Work, text};
use ossify_contract::Split;

const FROZEN: [&str; 4] =
    ["mode=\"frozen\"", "augment.shift=0", "augment.brightness=0", "epochs=1"];

/// The command under limits that `ulimit` takes.
fn limited(command: &Command, limits: &str) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit {limits} && exec \"$0\" \"$@\"")]);
    shell.arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    shell.output().unwrap()
}

#[test]
fn two_thousand_shards_need_few_descriptors() {
    let images: Vec<(Split, usize)> =
        (0..2_000).map(|i| (Split::Train, i)).chain((0..6).map(|i| (Split::Valid, i))).collect();
    let work = Work::new(2, 2);
    work.write_tables(&images, 2);
    work.write_shards_of(&images, |_| 1, |_| STRETCH);
    for recipe in [&FROZEN[..], &["epochs=1", "batch_size=64"]] {
        let output = limited(&work.train(recipe), "-n 256");
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(work.metrics()[0].train.rows, 2_000);
    }
}

#[test]
fn a_head_that_the_process_may_have_no_memory_for_is_refused_in_words() {
    let work = Work::new(4, 2);
    let output = limited(&work.train(&["model.head_widths=[65536, 4096]"]), "-v 3000000");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("(ulimit -v): lower train.model.head_widths"), "{said}");
}

#[test]
fn trainings_that_need_the_same_features_wait_for_each_other() {
    let work = Work::new(300, 20);
    let rates = [
        "optimizer.learning_rate=0.001",
        "optimizer.learning_rate=0.002",
        "optimizer.learning_rate=0.003",
    ];
    let runs = rates.map(|rate| {
        let mut command = work.train(&[&FROZEN[..], &[rate]].concat());
        command.stderr(Stdio::piped()).spawn().unwrap()
    });
    let ended = runs.map(|run| run.wait_with_output().unwrap());
    let said = ended.each_ref().map(|output| text(&output.stderr));
    assert!(ended.iter().all(|output| output.status.success()), "{said:#?}");
    assert_eq!(said.iter().filter(|said| said.contains("computed once for 320")).count(), 1);
    assert_eq!(said.iter().filter(|said| said.contains("taken from")).count(), 2);
}
