//! Reading a dataset share by share and merging gives the same result as reading it at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;
#[path = "common/dataset_text.rs"]
mod dataset_text;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use common::{Dataset, code, command, ingest, stderr, table_bytes};
use dataset_text::{cases, make};
use ossify_contract::Manifest;

fn part(dataset: &Dataset, out: &Path, share: &str, settings: &[String]) -> Output {
    let arguments: Vec<&str> =
        settings.iter().map(String::as_str).chain(["--partition", share]).collect();
    ingest(&dataset.path(), out, &arguments)
}

fn merge(dataset: &Dataset, out: &Path, count: u32, settings: &[String]) -> Output {
    let count = count.to_string();
    let arguments: Vec<&str> =
        settings.iter().map(String::as_str).chain(["--merge", &count]).collect();
    ingest(&dataset.path(), out, &arguments)
}

/// Reads all shares and merges them.
fn merged(dataset: &Dataset, out: &Path, count: u32, settings: &[String]) -> Output {
    for number in 1..=count {
        let output = part(dataset, out, &format!("{number}/{count}"), settings);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
    }
    merge(dataset, out, count, settings)
}

fn other_out(dataset: &Dataset, name: &str) -> PathBuf {
    dataset.out().with_file_name(name)
}

/// The manifest without its time.
fn manifest(tables: &Path) -> Manifest {
    Manifest { created_at: String::new(), ..Manifest::open(tables, "").unwrap() }
}

fn assert_same(dataset: &Dataset, out: &Path, what: &str) {
    assert_eq!(table_bytes(&out.join("tables")), table_bytes(&dataset.tables()), "{what}");
    assert_eq!(manifest(&out.join("tables")), manifest(&dataset.tables()), "{what}");
}

/// The output of the merge, without the name of the folder.
fn said(output: &Output, out: &Path) -> String {
    stderr(output).replace(&format!("{}/tables", out.display()), "TABLES")
}

#[test]
fn every_dataset_of_the_corpus_is_the_same_merged_and_at_once() {
    for case in cases()
        .into_iter()
        .filter(|case| case.extension().is_some_and(|extension| extension == "dataset"))
    {
        let what = case.file_stem().unwrap().to_string_lossy().into_owned();
        let (dataset, settings) = make(&std::fs::read_to_string(&case).unwrap());
        let whole = dataset.ingest(&settings.iter().map(String::as_str).collect::<Vec<_>>());
        for count in [1, 3] {
            let out = other_out(&dataset, &format!("out-{count}"));
            // If a dataset cannot be read, either each share or the merge says so.
            let parts: Vec<Output> = (1..=count)
                .map(|number| part(&dataset, &out, &format!("{number}/{count}"), &settings))
                .collect();
            if let Some(failed) = parts.iter().find(|output| code(output) != 0) {
                assert_eq!(
                    (code(failed), said(failed, &out)),
                    (code(&whole), said(&whole, &dataset.out())),
                    "{what}"
                );
                continue;
            }
            let merged = merge(&dataset, &out, count, &settings);
            assert_eq!(
                (code(&merged), said(&merged, &out)),
                (code(&whole), said(&whole, &dataset.out())),
                "{what}, {count} shares"
            );
            assert_eq!(
                dataset.tables().join("manifest.json").exists(),
                out.join("tables/manifest.json").exists(),
                "{what}"
            );
            if dataset.tables().join("manifest.json").exists() {
                assert_same(&dataset, &out, &what);
            }
        }
    }
}

#[test]
fn findings_for_machines_are_those_of_the_whole() {
    let dataset = Dataset::faulty();
    let whole = dataset.ingest(&["--format", "json"]);
    let out = other_out(&dataset, "merged");
    assert_eq!(code(&merged(&dataset, &out, 4, &[])), 0);
    let merged = ingest(&dataset.path(), &out, &["--merge", "4", "--format", "json"]);
    assert_eq!(merged.stdout, whole.stdout);
    let mut of_parts: Vec<String> = Vec::new();
    for number in 1..=4 {
        let output = ingest(
            &dataset.path(),
            &out,
            &["--partition", &format!("{number}/4"), "--format", "json"],
        );
        of_parts.extend(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned));
    }
    let mut of_whole: Vec<String> =
        String::from_utf8(whole.stdout).unwrap().lines().map(str::to_owned).collect();
    of_parts.sort();
    of_whole.sort();
    // Rare classes are only known for the whole; there are none here.
    assert_eq!(of_parts, of_whole);
}

#[test]
fn a_changed_file_is_read_by_its_share_alone_and_a_new_one_seen_by_all() {
    let dataset = Dataset::faulty();
    let out = other_out(&dataset, "merged");
    assert_eq!(code(&merged(&dataset, &out, 4, &[])), 0);
    let current = |output: &Output| stderr(output).contains("already there");
    let again = |dataset: &Dataset| {
        (1..=4).filter(|number| !current(&part(dataset, &out, &format!("{number}/4"), &[]))).count()
    };
    assert!(current(&merge(&dataset, &out, 4, &[])));
    assert_eq!(again(&dataset), 0);

    dataset.write("train/labels/a.txt", "0 0.5 0.5 0.25 0.1\n");
    assert_eq!(again(&dataset), 1);
    dataset.pair("train/images/new.png", "1 0.5 0.5 0.2 0.1\n");
    let share = (1..=4)
        .find(|number| !current(&part(&dataset, &out, &format!("{number}/4"), &[])))
        .unwrap();
    let output = merge(&dataset, &out, 4, &[]);
    let expected = if share == 4 {
        String::new()
    } else {
        "the one that is up to date has nothing to do".to_owned()
    };
    assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
    assert_eq!(again(&dataset), 0);
    assert_eq!(code(&merge(&dataset, &out, 4, &[])), 0);
    dataset.ingest(&[]);
    assert_same(&dataset, &out, "after the changes");
}

#[test]
fn a_merge_says_which_part_does_not_fit() {
    let dataset = Dataset::small();
    let out = other_out(&dataset, "merged");
    let shown = |output: &Output| {
        assert_eq!(code(output), 1, "{}", stderr(output));
        dataset.portable(stderr(output).as_bytes()).replace(" (--force runs it anyway)", "")
    };
    part(&dataset, &out, "2/3", &[]);
    insta::assert_snapshot!("part_missing", shown(&merge(&dataset, &out, 3, &[])));
    part(&dataset, &out, "1/3", &[]);
    part(&dataset, &out, "3/3", &["--set=ingest.min_side_px=12".into()]);
    insta::assert_snapshot!("part_of_another_configuration", shown(&merge(&dataset, &out, 3, &[])));
    part(&dataset, &out, "3/3", &[]);
    assert_eq!(code(&merge(&dataset, &out, 3, &[])), 0);

    let [first, second] = [1, 2].map(|number| out.join(format!("parts/ingest/3/{number}")));
    std::fs::rename(&first, out.join("aside")).unwrap();
    std::fs::rename(&second, &first).unwrap();
    std::fs::rename(out.join("aside"), &second).unwrap();
    insta::assert_snapshot!("part_moved", shown(&merge(&dataset, &out, 3, &[])));

    let folder = out.join("parts/ingest/3/3");
    let file = Manifest::open(&folder, "").unwrap().files[0].path.clone();
    let mut bytes = std::fs::read(folder.join(&file)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::rename(&second, out.join("aside")).unwrap();
    std::fs::rename(&first, &second).unwrap();
    std::fs::rename(out.join("aside"), &first).unwrap();
    std::fs::write(folder.join(&file), &bytes).unwrap();
    let text = stderr(&ingest(&dataset.path(), &out, &["--merge", "3", "--force"]));
    assert!(text.contains(&file) && text.contains("--force"), "{text}");
    std::fs::remove_file(folder.join(&file)).unwrap();
    let text = stderr(&merge(&dataset, &out, 3, &[]));
    assert!(text.contains("missing") && text.contains(&file), "{text}");
}

#[test]
fn a_share_that_is_none_is_a_usage_error() {
    let dataset = Dataset::small();
    for share in ["0/3", "4/3", "3", "x/y"] {
        assert_eq!(code(&part(&dataset, &dataset.out(), share, &[])), 2, "{share}");
    }
    assert_eq!(code(&ingest(&dataset.path(), &dataset.out(), &["--merge", "0"])), 2);
    assert_eq!(
        code(&ingest(&dataset.path(), &dataset.out(), &["--merge", "2", "--partition", "1/2"])),
        2
    );
}

/// Several workers process each share at once, half of them are killed at some moment, and then
/// each share is processed again.
#[test]
fn workers_that_are_doubled_killed_and_late_leave_what_one_would() {
    let dataset = Dataset::faulty();
    for image in 0..600 {
        dataset.pair(
            &format!("train/images/more-{image}.png"),
            format!("{} 0.5 0.5 0.2 0.1\n{} 1.5 0.5 0.2 0.1\n", image % 3, image % 4),
        );
    }
    assert_eq!(code(&dataset.ingest(&["-q"])), 0);
    let out = other_out(&dataset, "merged");
    for round in 0..4_u64 {
        let mut workers: Vec<_> = (0..6)
            .map(|worker| {
                let share = format!("{}/3", worker % 3 + 1);
                let mut worker =
                    command(&dataset.path(), &out, &["-q", "--force", "--partition", &share]);
                worker.stderr(std::process::Stdio::null()).spawn().unwrap()
            })
            .collect();
        std::thread::sleep(Duration::from_millis(5 + 17 * round));
        workers.iter_mut().take(3).for_each(|worker| drop(worker.kill()));
        for mut worker in workers {
            worker.wait().unwrap();
        }
    }
    for number in [1, 2, 3, 2] {
        assert_eq!(code(&part(&dataset, &out, &format!("{number}/3"), &[])), 0);
    }
    assert_eq!(code(&merge(&dataset, &out, 3, &["-q".into()])), 0);
    assert_same(&dataset, &out, "after the kills");
    // A late worker changes nothing.
    part(&dataset, &out, "1/3", &["--force".into()]);
    assert!(stderr(&merge(&dataset, &out, 3, &[])).contains("already there"));
}

#[test]
fn many_parts_are_merged_with_few_open_files() {
    let dataset = Dataset::faulty();
    for image in 0..200 {
        dataset.pair(&format!("train/images/many{image:03}.png"), "1 0.5 0.5 0.2 0.1\n");
    }
    assert_eq!(code(&dataset.ingest(&[])), 0);
    let out = other_out(&dataset, "many");
    let shares = 150;
    for number in 1..=shares {
        let output = part(&dataset, &out, &format!("{number}/{shares}"), &[]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
    }
    let merge = command(&dataset.path(), &out, &["--merge", "150", "--set", "general.threads=2"]);
    let output = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 100 && exec \"$@\"", "sh"])
        .arg(merge.get_program())
        .args(merge.get_args())
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_same(&dataset, &out, "150 parts");
}
