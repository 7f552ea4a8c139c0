//! A run that is interrupted, in whatever way and at whatever step, ends as an undisturbed one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(missing_docs)]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Work, model, reaches, step_of, stop, text, timeless};
use safetensors::SafeTensors;

/// Everything whose state could be lost: balanced sampling, augmentation, dropout, plateaus,
/// momenta, averages.
const RECIPE: [&str; 17] = [
    "epochs=5",
    "sampler.kind=\"balanced\"",
    "augment.flip=true",
    "augment.rotation=15.0",
    "augment.scale=0.2",
    "augment.contrast=0.2",
    "augment.noise=0.05",
    "augment.cutout=0.2",
    "optimizer.kind=\"adamw\"",
    "optimizer.clip_scope=\"global\"",
    "optimizer.ema_decay=0.8",
    "schedule.kind=\"plateau\"",
    "schedule.plateau_patience=1",
    "loss.giou_weight=1.0",
    "loss.class_weights=\"sqrt\"",
    "checkpoint.every_steps=1",
    "--quiet",
];

/// Kills a run ten times at steps that a generator draws, and compares it with an undisturbed one.
fn killed_ten_times(recipe: &[&str], mut random: u64) {
    let undisturbed = Work::new(48, 12);
    assert!(undisturbed.train(recipe).status().unwrap().success());
    let expected = timeless(undisturbed.metrics());
    let steps = expected.last().unwrap().step;

    let killed = Work::new(48, 12);
    let (mut target, mut at) = (0, Vec::new());
    for kill in 0..10 {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        target = step_of(&killed).max(target) + 1 + (random >> 33) % (steps / 10 + 1);
        let mut child = killed.train(recipe).spawn().unwrap();
        if !reaches(&mut child, &killed, target.min(steps)) {
            break;
        }
        stop(&mut child, kill % 2 == 0);
        at.push(
            killed
                .last_state()
                .map(|state| (state["epoch"].as_u64().unwrap(), state["batches"].as_u64().unwrap()))
                .unwrap(),
        );
    }
    assert!(killed.train(recipe).status().unwrap().success());
    eprintln!("killed after (epochs, batches): {at:?} of {steps} steps");
    assert!(
        at.len() >= 6 && at.iter().filter(|(_, batches)| *batches > 0).count() >= 3,
        "too few kills in mid-epoch: {at:?}"
    );
    let found = timeless(killed.metrics());
    assert_eq!(found, expected);
    assert!(found.iter().all(|metrics| metrics.batches_xxh3.len() == 16));
    assert!(model(&killed) == model(&undisturbed), "other weights after kills at {at:?}");
}

#[test]
fn a_run_that_is_killed_at_ten_random_steps_ends_as_an_undisturbed_one() {
    killed_ten_times(&RECIPE, 20);
}

#[test]
fn so_does_one_with_a_frozen_phase_before_the_fine_tuning() {
    let phases = [
        "mode=\"finetune\"",
        "finetune.frozen_epochs=2",
        "finetune.from_block=2",
        "finetune.learning_rate=0.001",
    ];
    killed_ten_times(&[&RECIPE[..], &phases].concat(), 7);
}

#[test]
fn a_signal_saves_the_step_says_so_and_the_next_run_goes_on_in_mid_epoch() {
    let work = Work::new(64, 12);
    let recipe = ["epochs=300", "checkpoint.every_steps=1"];
    let mut child = work.train(&recipe).stderr(Stdio::piped()).spawn().unwrap();
    assert!(reaches(&mut child, &work, 3));
    assert!(
        Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success()
    );
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let kept = format!("interrupted; the checkpoint after step {} ", step_of(&work));
    assert!(said.contains(&kept) && said.contains("goes on from there"), "{said}");
    assert!(!work.out().join("runs").join("latest").exists());

    let resumed =
        work.train(&[&recipe[..], &["--resume"]].concat()).stderr(Stdio::piped()).spawn().unwrap();
    let before = step_of(&work);
    while step_of(&work) == before {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(
        Command::new("kill").args(["-INT", &resumed.id().to_string()]).status().unwrap().success()
    );
    let said = text(&resumed.wait_with_output().unwrap().stderr);
    assert!(said.contains(&format!("continues after step {before} ")), "{said}");
}

#[test]
fn resume_without_a_run_is_an_error_and_with_force_a_contradiction() {
    let work = Work::new(8, 4);
    let ended = |more: &[&str]| {
        let output = work.train(more).output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    let (code, said) = ended(&["--resume"]);
    assert!(code == Some(1) && said.contains("no run that was cut short"), "{said}");
    let (code, said) = ended(&["--resume", "--force"]);
    assert!(code == Some(2) && said.contains("give one of them"), "{said}");
}

#[test]
fn a_run_that_ended_goes_on_when_more_epochs_are_asked_for() {
    let constant = ["schedule.kind=\"constant\"", "--quiet"];
    let of = |work: &Work, epochs: &str| {
        let recipe = [&constant[..], &[epochs]].concat();
        work.train(&recipe).output().unwrap()
    };
    let expected = Work::new(32, 8);
    assert!(of(&expected, "epochs=5").status.success());
    let work = Work::new(32, 8);
    assert!(of(&work, "epochs=2").status.success());
    let (run, first) = (work.run_folder(), timeless(work.metrics()));
    // On the way it ends elsewhere, and what decides nothing may change.
    let more = [&constant[..1], &["epochs=5", "checkpoint.every_steps=1"]].concat();
    let longer = work.train(&more).output().unwrap();
    let said = text(&longer.stderr);
    assert!(longer.status.success() && said.contains("continues after step 8 (epoch 2)"), "{said}");
    assert_eq!(work.run_folder(), run);
    assert_eq!(timeless(work.metrics()), timeless(expected.metrics()));
    assert!(model(&work) == model(&expected));
    assert!(!run.join("unfinished").exists());

    // Fewer epochs than it has: with --resume, nothing.
    let before = model(&work);
    let shorter = work.train(&[&constant[..1], &["epochs=2", "--resume"]].concat());
    let (code, said) = ended(shorter);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("--resume: the run is at epoch 5 and would have ended after"), "{said}");
    assert!(model(&work) == before);
    assert!(of(&work, "epochs=5").status.success() && !run.join("unfinished").exists());

    // Without it, what a run of so many would have given.
    let shorter = work.train(&[&constant[..1], &["epochs=2"]].concat()).output().unwrap();
    let said = text(&shorter.stderr);
    assert!(shorter.status.success() && said.contains("starts over"), "{said}");
    assert_eq!(timeless(work.metrics()), first);
}

fn ended(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    (output.status.code(), text(&output.stderr))
}

#[test]
fn a_run_whose_rule_to_stop_still_holds_is_published_under_the_new_limits() {
    let of = |work: &Work, epochs: &str, patience: &str| {
        let recipe = ["schedule.kind=\"constant\"", "stopping.min_delta=0.9"];
        ended(work.train(&[&recipe[..], &[epochs, patience]].concat()))
    };
    let work = Work::new(16, 6);
    let (code, said) = of(&work, "epochs=30", "stopping.patience=2");
    assert_eq!(code, Some(0), "{said}");
    let (before, metrics) = (model(&work), work.metrics());
    assert!(metrics.len() < 30, "patience ended it");
    let end = "no better epoch in 2 (train.stopping.patience)".to_owned();
    for (epochs, patience, reason) in [
        ("epochs=31", "stopping.patience=2", end),
        (
            &format!("epochs={}", metrics.len()),
            "stopping.patience=3",
            format!("all {} epochs done", metrics.len()),
        ),
    ] {
        let (code, said) = of(&work, epochs, patience);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(&format!("stopped: {reason}")), "{said}");
        assert!(said.contains("continues after step"), "{said}");
        ossify_contract::Manifest::open(&work.run_folder(), "").unwrap();
        assert!(model(&work) == before && work.metrics() == metrics);
        let (code, said) = of(&work, epochs, patience);
        assert!(code == Some(0) && said.contains("already there"), "{said}");
    }
}

#[test]
fn whichever_file_a_run_has_lost_the_same_command_makes_it_again() {
    let recipe = ["epochs=1"];
    let work = Work::new(16, 6);
    assert_eq!(ended(work.train(&recipe)).0, Some(0));
    let run = work.run_folder();
    let manifest = ossify_contract::Manifest::open(&run, "").unwrap();
    let files: Vec<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files.len(), 8);
    let before = model(&work);
    for file in files {
        std::fs::remove_file(run.join(file)).unwrap();
        let (code, said) = ended(work.train(&recipe));
        assert_eq!(code, Some(0), "{file}: {said}");
        let words = if file == "checkpoints/last/checkpoint.safetensors" {
            "checkpoint.safetensors is gone: the run starts over"
        } else {
            "continues after step 2 (epoch 1)"
        };
        assert!(said.contains(words), "{file}: {said}");
        ossify_contract::Manifest::open(&run, "").unwrap();
        assert!(model(&work) == before, "{file}");
    }
}

#[test]
fn the_lost_checkpoint_of_an_earlier_best_epoch_is_an_error_that_says_what_to_do() {
    let recipe =
        ["schedule.kind=\"constant\"", "optimizer.learning_rate=1e-9", "model.dropout=0.0"];
    let of = |work: &Work, epochs: &str| {
        ended(work.train(&[&recipe[..], &["checkpoint.best_by=\"accuracy\"", epochs]].concat()))
    };
    let work = Work::new(16, 6);
    assert_eq!(of(&work, "epochs=2").0, Some(0));
    let before = model(&work);
    let best = work.run_folder().join("checkpoints/best/checkpoint.safetensors");
    std::fs::remove_file(best).unwrap();
    let (code, said) = of(&work, "epochs=2");
    assert!(code == Some(1) && said.contains("is gone; start over with --force"), "{said}");
    assert!(model(&work) == before);
}

#[test]
fn what_a_longer_run_has_left_stays_while_the_shorter_one_is_current() {
    let constant = ["schedule.kind=\"constant\"", "checkpoint.every_steps=1", "--quiet"];
    let work = Work::new(16, 6);
    let of = |epochs| work.train(&[&constant[..], &[epochs]].concat());
    assert!(of("epochs=1").status().unwrap().success());
    let mut longer = of("epochs=300").spawn().unwrap();
    assert!(reaches(&mut longer, &work, 3));
    longer.kill().unwrap();
    longer.wait().unwrap();
    let ahead = step_of(&work);
    assert!(of("epochs=1").status().unwrap().success());
    assert!(step_of(&work) == ahead && work.run_folder().join("unfinished").exists());
}

/// Flips a bit in the middle of the numbers of the first tensor whose name begins with `part`; of
/// the state where `part` is empty.
fn flip_bit(checkpoint: &Path, part: &str) {
    let mut bytes = std::fs::read(checkpoint).unwrap();
    let (header, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let (start, end) = match part {
        // Behind the length of the header, its text, in which the state comes first or second.
        "" => (8, header),
        part => {
            let tensors = metadata.tensors();
            let found =
                tensors.iter().find(|(name, tensor)| name.starts_with(part) && tensor.shape != [0]);
            let (start, end) = found.unwrap().1.data_offsets;
            (8 + header + start, 8 + header + end)
        }
    };
    bytes[(start + end) / 2] ^= 1 << 6;
    std::fs::write(checkpoint, bytes).unwrap();
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy_folder(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}

#[test]
fn whatever_is_damaged_in_the_last_checkpoint_the_run_ends_as_an_undisturbed_one_or_in_words() {
    let recipe = [&RECIPE[..RECIPE.len() - 1], &["epochs=2"]].concat();
    let undisturbed = Work::new(48, 12);
    assert!(undisturbed.train(&recipe).output().unwrap().status.success());
    let work = Work::new(48, 12);
    let mut child = work.train(&[&recipe[..], &["--quiet"]].concat()).spawn().unwrap();
    assert!(reaches(&mut child, &work, 8));
    child.kill().unwrap();
    child.wait().unwrap();
    let (runs, kept) = (work.out().join("runs"), work.path().join("kept"));
    copy_folder(&runs, &kept);
    let restored = || {
        std::fs::remove_dir_all(&runs).unwrap();
        copy_folder(&kept, &runs);
        let mut run = std::fs::read_dir(&runs).unwrap().map(|entry| entry.unwrap().path());
        run.find(|path| path.is_dir()).unwrap().join("unfinished/checkpoints/last")
    };
    let resumed = |more: &str| {
        let output = work.train(&[&recipe[..], &[more]].concat()).output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    for part in ["", "model.", "optimiser.", "average."] {
        flip_bit(&restored().join("checkpoint.safetensors"), part);
        let (code, said) = resumed("--resume");
        assert!(code == Some(0), "{part}: {said}");
        assert!(said.contains("going on from the checkpoint before it"), "{part}: {said}");
        assert_eq!(timeless(work.metrics()), timeless(undisturbed.metrics()), "{part}");
        assert!(model(&work) == model(&undisturbed), "{part}");
    }
    let last = restored();
    for checkpoint in ["checkpoint.safetensors", "previous.safetensors"] {
        flip_bit(&last.join(checkpoint), "model.");
    }
    let (code, said) = resumed("--resume");
    assert!(
        code == Some(1) && said.contains("there is nothing to go on from; use --force"),
        "{said}"
    );
    assert!(said.contains("checkpoint.safetensors is damaged"), "{said}");
    let (code, said) = resumed("--force");
    assert!(code == Some(0) && model(&work) == model(&undisturbed), "{said}");
}

#[test]
fn a_damaged_checkpoint_of_a_published_run_is_not_gone_on_from() {
    // All epochs are equally good, so that the first one is the best.
    let recipe = [
        "schedule.kind=\"constant\"",
        "checkpoint.best_by=\"accuracy\"",
        "optimizer.learning_rate=1e-9",
        "model.dropout=0.0",
    ];
    for checkpoint in ["last", "best"] {
        let work = Work::new(16, 6);
        let of = |epochs: &str| work.train(&[&recipe[..], &[epochs]].concat()).output().unwrap();
        assert!(of("epochs=2").status.success());
        let before = model(&work);
        let folder = work.run_folder().join("checkpoints").join(checkpoint);
        let damaged = folder.join("checkpoint.safetensors");
        flip_bit(&damaged, "model.");
        // What is damaged is not taken along: it is the published file each time.
        for _ in 0..2 {
            let output = of("epochs=3");
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{said}");
            for words in [
                "cannot be continued from its checkpoints; start over with --force",
                &format!("{} is damaged", damaged.display()),
            ] {
                assert!(said.contains(words), "{said}");
            }
            assert!(model(&work) == before && !work.run_folder().join("unfinished").exists());
        }
    }
}

#[test]
fn with_the_cosine_schedule_other_epochs_make_another_run() {
    let work = Work::new(16, 6);
    assert!(work.train(&["epochs=1", "--quiet"]).status().unwrap().success());
    let first = work.run_folder();
    assert!(work.train(&["epochs=2", "--quiet"]).status().unwrap().success());
    assert_ne!(work.run_folder(), first);
}

#[test]
fn a_run_that_is_forced_and_fails_leaves_the_one_before_whole() {
    let work = Work::new(16, 6);
    assert!(work.train(&["--quiet"]).status().unwrap().success());
    let before = model(&work);
    let mut command = Command::new("sh");
    // Files of 8 KiB at most: no checkpoint can be written.
    command.args(["-c", "ulimit -f 16 && exec \"$0\" \"$@\""]).current_dir(work.path());
    let train = work.train(&["--force", "--quiet"]);
    command.arg(train.get_program()).args(train.get_args());
    assert!(!command.output().unwrap().status.success());
    ossify_contract::Manifest::open(&work.run_folder(), "").unwrap();
    assert!(model(&work) == before && work.run_folder().join("unfinished").exists());
    assert!(work.train(&["--quiet"]).status().unwrap().success());
    assert!(!work.run_folder().join("unfinished").exists());
}
