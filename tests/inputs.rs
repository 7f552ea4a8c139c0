//! Tests the inputs from earlier stages: only the files that a stage reads decide whether it runs
//! again, and no byte of them is used unverified.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ossify_contract::Manifest;
use ossify_tests::{Ended, Project};

#[test]
fn files_that_no_later_stage_reads_rerun_nothing() {
    let (project, _) = Project::with_phantom(100);
    assert_eq!(project.run_all(&[]), ["done"; 5]);
    let (current, done) = ("current", "done");
    for (key, expected) in [
        // Affects only the list of leaks. (Evaluate would read which images are marked, if other
        // images were marked.)
        ("resize.leak_candidates_per_image=0", [current, done, current, current, current]),
        // The level of a finding that does not change any line.
        ("ingest.rules.label-missing=\"note\"", [done, current, current, current, current]),
        // Affects which classes are trained.
        ("ingest.min_objects_per_class=1", [done, current, done, done, done]),
    ] {
        let statuses = project.run_all(&["--set", key]);
        assert_eq!(statuses, expected, "{key}");
        project.run_all(&[]);
    }
}

#[test]
fn the_run_counts_and_not_how_it_is_named() {
    let (project, _) = Project::with_phantom(60);
    project.run_all(&[]);
    let id = project.run_id();
    let by_id = format!("predict.run={id}");
    assert_eq!(project.run("predict", &["--set", &by_id]).success().status(), "current");
    let by_id_of_predictions = format!("evaluate.predictions={id}");
    let ended = project.run("evaluate", &["--set", &by_id_of_predictions]).success();
    assert_eq!(ended.status(), "current");
    for share in ["1/2", "2/2"] {
        project.run("predict", &["--partition", share]).success();
    }
    assert_eq!(
        project.run("predict", &["--merge", "2", "--set", &by_id]).success().status(),
        "current"
    );
}

/// A folder that a stage published, and the stages that read it.
struct Published {
    folder: PathBuf,
    readers: &'static [(&'static str, &'static [&'static str])],
}

#[test]
fn a_flipped_bit_of_a_published_file_is_refused_or_was_not_read() {
    let (project, _) = Project::with_phantom(60);
    project.run_all(&[]);
    let id = project.run_id();
    let mut expected = project.contents();
    // Reports show how long training took, so they differ.
    let without_reports = |contents: &[(String, String)]| {
        contents
            .iter()
            .filter(|(path, _)| !path.starts_with("reports"))
            .cloned()
            .collect::<Vec<_>>()
    };
    let folders = [
        Published {
            folder: project.out.join("tables"),
            readers: &[("resize", &[]), ("train", &[]), ("evaluate", &[])],
        },
        Published {
            folder: project.out.join("shards"),
            readers: &[("train", &[]), ("predict", &[]), ("evaluate", &[])],
        },
        Published {
            folder: project.out.join("runs").join(&id),
            readers: &[("predict", &[]), ("evaluate", &[])],
        },
        Published {
            folder: project.out.join("predictions").join(&id),
            readers: &[
                ("evaluate", &[]),
                // Thresholds and temperature are fitted on the valid split.
                ("evaluate", &["--set", "evaluate.splits=[\"test\"]"]),
            ],
        },
    ];
    let (mut refused, mut unread) = (0, 0);
    for Published { folder, readers } in folders {
        let manifest = Manifest::open(&folder, "").unwrap();
        for file in manifest.files.iter().filter(|file| file.bytes > 0) {
            let path = folder.join(&file.path);
            let whole = fs::read(&path).unwrap();
            for (stage, args) in readers {
                let mut flipped = whole.clone();
                flipped[whole.len() / 2] ^= 1;
                fs::write(&path, &flipped).unwrap();
                let ended = project.run(stage, &[&["--force"], *args].concat());
                fs::write(&path, &whole).unwrap();
                let what = format!("{stage} {args:?} with a flipped bit in {}", path.display());
                match ended.code() {
                    0 => {
                        unread += 1;
                        let found = project.contents();
                        if *stage == "train" {
                            assert_eq!(
                                without_reports(&found),
                                without_reports(&expected),
                                "{what}"
                            );
                            project.run("evaluate", &["--force"]).success();
                            expected = project.contents();
                        } else {
                            assert_eq!(found, expected, "{what}");
                        }
                    }
                    _ => {
                        refused += 1;
                        ended.fails_with(1, &["error"]);
                    }
                }
            }
        }
    }
    assert!(refused >= 15 && unread >= 5, "{refused} refused, {unread} not read");
}

#[test]
fn a_file_that_no_later_stage_reads_may_be_gone_and_its_own_stage_makes_it_again() {
    let (project, _) = Project::with_phantom(60);
    project.run_all(&[]);
    let run = format!("runs/{}", project.run_id());
    for (stage, file, readers) in [
        ("ingest", "tables/ingest.html".to_owned(), &["resize", "train", "evaluate"][..]),
        ("resize", "shards/leaks.parquet".to_owned(), &["train", "predict", "evaluate"]),
        ("train", format!("{run}/curves.svg"), &["predict", "evaluate"]),
        ("train", format!("{run}/tensorboard/events.out.tfevents.ossify"), &["predict"]),
    ] {
        let path = project.out.join(&file);
        fs::remove_file(&path).unwrap();
        for reader in readers {
            assert_eq!(project.run(reader, &["--force"]).success().status(), "done", "{file}");
        }
        assert_eq!(project.run(stage, &[]).success().status(), "done", "{file}");
        assert!(path.exists(), "{file}");
    }
}

/// A stage that has read the manifests of its inputs and waits to lock its output: the lock's file
/// is a pipe that has no reader yet.
struct Waiting {
    stage: &'static str,
    child: Child,
    lock: PathBuf,
}

impl Waiting {
    fn begin(project: &Project, stage: &'static str, args: &[&str], folder: &Path) -> Self {
        let lock = folder.join(".lock");
        fs::create_dir_all(folder).unwrap();
        let _ = fs::remove_file(&lock);
        assert!(Command::new("mkfifo").arg(&lock).status().unwrap().success());
        let mut command = project.command(stage, args);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let waiting = Waiting { stage, child, lock };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !waiting.is_at_the_pipe() {
            assert!(Instant::now() < deadline, "{stage} does not lock {}", folder.display());
            sleep(Duration::from_millis(5));
        }
        waiting
    }

    /// Whether a thread is in the system call that opens a pipe and waits for its reader.
    fn is_at_the_pipe(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten();
        threads.flatten().any(|thread| {
            fs::read_to_string(thread.path().join("wchan"))
                .is_ok_and(|waits_in| waits_in.contains("wait_for_partner"))
        })
    }

    /// Lets the stage go on, to its end.
    fn end(self) -> Ended {
        let reader = File::open(&self.lock).unwrap();
        let ended = Ended::of_child(self.stage, self.child);
        drop(reader);
        fs::remove_file(&self.lock).unwrap();
        ended
    }
}

#[test]
fn tables_that_are_published_while_resize_waits_for_its_lock_are_those_that_it_takes() {
    let (project, _) = Project::with_phantom(60);
    project.run("ingest", &[]).success();
    let waiting = Waiting::begin(&project, "resize", &[], &project.out.join("shards"));
    let images = project.dataset.join("train/images");
    let image = fs::read_dir(images).unwrap().map(|entry| entry.unwrap().path()).min().unwrap();
    fs::remove_file(image).unwrap();
    assert_eq!(project.run("ingest", &[]).success().status(), "done");
    let ended = waiting.end().success();
    assert_eq!(ended.json()["summary"]["failed_images"], 0);
    assert_eq!(project.run("resize", &[]).success().status(), "current");
}

#[test]
fn parts_and_tables_that_are_published_while_a_merge_waits_for_its_lock_do_not_mix() {
    let (project, _) = Project::with_phantom(60);
    project.run("ingest", &[]).success();
    let parts = || {
        for share in ["1/2", "2/2"] {
            project.run("resize", &["--partition", share]).success();
        }
    };
    parts();
    let merge = ["--merge", "2"];
    let waiting = Waiting::begin(&project, "resize", &merge, &project.out.join("shards"));
    let images = project.dataset.join("train/images");
    let image = fs::read_dir(images).unwrap().map(|entry| entry.unwrap().path()).min().unwrap();
    fs::remove_file(image).unwrap();
    project.run("ingest", &[]).success();
    parts();
    waiting.end().success();
    assert_eq!(project.run("resize", &[]).success().status(), "current");
}

#[test]
fn shards_that_are_published_while_train_waits_for_its_lock_are_those_that_it_trains_on() {
    let (project, _) = Project::with_phantom(60);
    for stage in ["ingest", "resize", "train"] {
        project.run(stage, &[]).success();
    }
    let first = project.run_id();
    let folder = project.out.join("runs").join(&first);
    let waiting = Waiting::begin(&project, "train", &["--force"], &folder);
    project.run("resize", &["--set", "resize.filter=nearest"]).success();
    waiting.end().success();
    let second = project.run_id();
    assert_ne!(second, first, "the run is called after the tensors that it had before");
    assert_eq!(project.run("train", &[]).success().status(), "current");
    assert_eq!(project.run_id(), second);
}

#[test]
fn shards_that_are_published_while_predict_waits_for_its_lock_are_refused() {
    let (project, _) = Project::with_phantom(60);
    project.run_all(&[]);
    let folder = project.out.join("predictions").join(project.run_id());
    let before = Manifest::open(&folder, "").unwrap();
    let waiting = Waiting::begin(&project, "predict", &["--force"], &folder);
    project.run("resize", &["--set", "resize.filter=nearest"]).success();
    waiting.end().fails_with(1, &["published anew while this stage was reading it"]);
    assert_eq!(Manifest::open(&folder, "").unwrap(), before);
    assert_eq!(project.run("predict", &[]).success().status(), "done");
}
