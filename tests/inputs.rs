//! Tests the inputs from earlier stages: only the files that a stage reads decide whether it runs
//! again, and no byte of them is used unverified.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::PathBuf;

use ossify_contract::Manifest;
use ossify_tests::Project;

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
