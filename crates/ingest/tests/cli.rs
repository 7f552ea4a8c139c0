//! Tests of the program's command line.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use common::{Dataset, code, command, ingest, stderr};
use insta::assert_snapshot;

fn stdout(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn bare(arguments: &[&str]) -> std::process::Output {
    std::process::Command::new(assert_cmd::cargo::cargo_bin!("ossify-ingest"))
        .args(arguments)
        .env("COLUMNS", "100")
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

#[test]
fn help_lists_the_flags() {
    assert_snapshot!(stdout(&bare(&["--help"])));
}

#[test]
fn explain_lists_all_rules() {
    assert_snapshot!(stdout(&bare(&["explain"])));
}

#[test]
fn explain_describes_a_rule() {
    assert_snapshot!(stdout(&bare(&["explain", "coordinate-count"])));
}

#[test]
fn rules_that_cannot_be_written_are_a_failure() {
    let ended = |stdout: std::process::Stdio| {
        std::process::Command::new(assert_cmd::cargo::cargo_bin!("ossify-ingest"))
            .arg("explain")
            .stdout(stdout)
            .output()
            .unwrap()
    };
    let full = ended(std::fs::File::create("/dev/full").unwrap().into());
    assert_eq!(code(&full), 1);
    assert!(stderr(&full).contains("cannot write the rules to standard output"));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(code(&ended(writer.into())), 0, "`head` has seen enough");
}

#[test]
fn an_unknown_rule_is_a_usage_error_that_names_the_nearest() {
    let output = bare(&["explain", "coordinate-counts"]);
    assert_eq!(code(&output), 2);
    assert_snapshot!(stderr(&output));
}

#[test]
fn a_clean_dataset_is_reported_in_a_few_lines() {
    let dataset = Dataset::small();
    let output = dataset.ingest(&[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_snapshot!(dataset.portable(&output.stderr));
    assert!(output.stdout.is_empty());
}

#[test]
fn findings_are_shown_with_their_lines() {
    let dataset = Dataset::faulty();
    let output = dataset.ingest(&[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_snapshot!(dataset.portable(&output.stderr));
}

#[test]
fn many_findings_of_a_rule_are_capped() {
    let dataset = Dataset::small();
    dataset.write("train/labels/a.txt", "9 0.5 0.5 0.2 0.1\n".repeat(50));
    let text = stderr(&dataset.ingest(&[]));
    assert!(text.contains("... and 47 more of this rule in issues.parquet"), "{text}");
    assert_eq!(text.matches("error[class-unknown]").count(), 3);
    assert_eq!(dataset.issues().iter().filter(|issue| issue.rule == "class-unknown").count(), 50);
}

#[test]
fn findings_come_in_forms_for_machines() {
    let dataset = Dataset::faulty();
    let total = {
        dataset.ingest(&[]);
        dataset.issues().len()
    };
    let concise = dataset.ingest(&["--format", "concise", "-q"]);
    assert_snapshot!(dataset.portable(&concise.stdout));
    assert!(concise.stderr.is_empty());
    let json = stdout(&dataset.ingest(&["--format", "json", "-q"]));
    assert_eq!(json.lines().count(), total);
    assert!(
        json.lines().all(
            |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["rule"].is_string()
        )
    );
    let sarif: serde_json::Value =
        serde_json::from_str(&stdout(&dataset.ingest(&["--format", "sarif", "-q"]))).unwrap();
    assert_eq!(sarif["runs"][0]["results"].as_array().unwrap().len(), total);
    let github = stdout(&dataset.ingest(&["--format", "github", "-q"]));
    assert_eq!(
        github
            .lines()
            .filter(|line| line.starts_with("::error ")
                || line.starts_with("::warning ")
                || line.starts_with("::notice "))
            .count(),
        total
    );
}

#[test]
fn control_characters_never_reach_the_terminal() {
    let dataset = Dataset::small();
    dataset
        .write("train/labels/a.txt", "\u{1b}[2J 0.5 \u{202e}0.5 0.2 0.1\n0 \u{7}0.5 0.5 0.2 0.1\n");
    dataset.write("data.yaml", NAMES_WITH_BELL);
    for arguments in
        [vec![], vec!["--format", "full"], vec!["--format", "concise"], vec!["--format", "github"]]
    {
        let output = dataset.ingest(&arguments);
        for text in [stdout(&output), stderr(&output)] {
            assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text:?}");
        }
    }
}

const NAMES_WITH_BELL: &str =
    "train: train/images\nval: valid/images\nnames: [\"elbow\\a\", forearm, wrist, rare]\n";

#[test]
fn a_wrong_path_is_a_usage_error() {
    let dataset = Dataset::new();
    let output = ingest(&dataset.path().join("nowhere"), &dataset.out(), &[]);
    assert_eq!(code(&output), 2);
    assert_snapshot!(dataset.portable(&output.stderr));
    dataset.write("file.txt", "");
    let output = ingest(&dataset.path().join("file.txt"), &dataset.out(), &[]);
    assert_eq!((code(&output), stderr(&output).contains("that is a file")), (2, true));
    assert!(!dataset.out().exists());
}

#[test]
fn an_unknown_key_is_a_usage_error() {
    let output = Dataset::small().ingest(&["--set", "ingest.tolerence=0.1"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("tolerance"), "{}", stderr(&output));
}

#[test]
fn an_empty_folder_and_an_empty_dataset_are_told_apart_from_a_wrong_path() {
    let dataset = Dataset::new();
    let output = dataset.ingest(&[]);
    assert_eq!(code(&output), 1);
    assert_snapshot!("empty_folder", dataset.portable(&output.stderr));
    dataset.write("data.yaml", "train: train/images\nval: train/images\nnames: [a]\n");
    std::fs::create_dir_all(dataset.path().join("train/images")).unwrap();
    let output = dataset.ingest(&[]);
    assert_eq!(code(&output), 1);
    assert_snapshot!("empty_dataset", dataset.portable(&output.stderr));
    assert!(!dataset.out().exists());
}

#[test]
fn a_dataset_without_labels_is_an_error() {
    let dataset = Dataset::new();
    dataset.write("data.yaml", "train: train/images\nnames: [a]\n");
    dataset.image("train/images/a.png", 20, 20);
    let output = dataset.ingest(&[]);
    assert_eq!(code(&output), 1);
    assert_snapshot!(dataset.portable(&output.stderr));
}

#[test]
fn a_split_that_is_named_and_not_there_says_what_was_looked_for() {
    let dataset = Dataset::small();
    dataset.write(
        "data.yaml",
        "train: ../train/images\nval: ../validation/images\nnames: [a, b, c]\n",
    );
    let output = dataset.ingest(&[]);
    assert_eq!(code(&output), 1);
    assert_snapshot!(dataset.portable(&output.stderr));
}

#[test]
fn a_second_run_does_nothing_until_something_changes() {
    let dataset = Dataset::small();
    assert_eq!(code(&dataset.ingest(&[])), 0);
    let first = dataset.manifest();
    let output = dataset.ingest(&[]);
    assert!(stderr(&output).contains("already there"), "{}", stderr(&output));
    assert_eq!(dataset.manifest(), first);
    // Changing a class id from 0 to 1 does not change the file's size.
    dataset.write("train/labels/a.txt", "1 0.5 0.5 0.2 0.1\n1 0.3 0.3 0.1 0.1\n");
    assert!(!stderr(&dataset.ingest(&[])).contains("already there"));
    assert_eq!(dataset.objects()[0].class_id, 1);
    assert!(stderr(&dataset.ingest(&[])).contains("already there"));
    assert!(!stderr(&dataset.ingest(&["--force"])).contains("already there"));
    assert!(!stderr(&dataset.ingest(&["--set", "ingest.tolerance=0.5"])).contains("already there"));
    // Threads never change a result.
    assert!(
        stderr(&dataset.ingest(&["--set", "ingest.tolerance=0.5", "--set", "general.threads=1"]))
            .contains("already there")
    );
    dataset.pair("valid/images/e.png", "");
    assert!(!stderr(&dataset.ingest(&[])).contains("already there"));
    assert_eq!(dataset.images().len(), 5);
}

#[test]
fn gates_name_figure_and_limit_on_every_run() {
    let dataset = Dataset::faulty();
    let arguments = ["-q", "--set", "ingest.max_quarantined_share=0.1"];
    for run in 0..2 {
        let output = dataset.ingest(&arguments);
        assert_eq!(code(&output), 3, "run {run}");
        assert_snapshot!("quarantine_gate", stderr(&output));
    }
    // The tables are written, so that the faults can be examined.
    assert!(!dataset.issues().is_empty());
    for _ in 0..2 {
        let output = dataset.ingest(&["-q", "--strict"]);
        assert_eq!(code(&output), 3);
        assert_snapshot!("strict_gate", stderr(&output));
    }
    assert_eq!(code(&dataset.ingest(&["-q"])), 0);
}

#[test]
fn the_json_summary_has_the_ledger() {
    let dataset = Dataset::faulty();
    let output = dataset.ingest(&["--json", "-q"]);
    let mut summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["status"], "done");
    let again: serde_json::Value =
        serde_json::from_slice(&dataset.ingest(&["--json", "-q"]).stdout).unwrap();
    assert_eq!((&again["status"], &again["summary"]), (&"current".into(), &summary["summary"]));
    assert_eq!(dataset.manifest().summary, summary["summary"]);
    insta::assert_json_snapshot!(summary["summary"].take());
}

#[test]
fn a_data_yaml_that_is_none_names_the_place() {
    let dataset = Dataset::small();
    dataset.write("data.yaml", "train: ../train/images\nnames: [elbow,\n");
    let output = dataset.ingest(&[]);
    assert_eq!(code(&output), 1);
    assert_snapshot!(dataset.portable(&output.stderr));
}

#[test]
fn class_names_of_the_conf_win_and_must_be_as_many() {
    let dataset = Dataset::small();
    let output = dataset.ingest(&["-q", "--set", "dataset.class_names=[\"x\", \"y\", \"z\"]"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(
        dataset.classes().iter().map(|class| class.class_name.as_str()).collect::<Vec<_>>(),
        ["x", "y", "z"]
    );
    assert_eq!(dataset.objects()[0].class_name, "x");
    let output = dataset.ingest(&["--set", "dataset.class_names=[\"x\", \"y\"]"]);
    assert_eq!(code(&output), 2);
    assert_snapshot!(dataset.portable(&output.stderr));
}

#[test]
fn gates_are_judged_at_each_call_and_not_kept() {
    let dataset = Dataset::faulty();
    let gated = ["--set", "ingest.max_findings.class-unknown=0"];
    for arguments in [&["--force"][..], &[]] {
        let arguments: Vec<&str> = arguments.iter().chain(&gated).copied().collect();
        let output = dataset.ingest(&arguments);
        assert_eq!(code(&output), 3, "{}", stderr(&output));
        let manifest = std::fs::read_to_string(dataset.tables().join("manifest.json")).unwrap();
        assert!(!manifest.contains("\"gates\""), "{manifest}");
        assert_eq!(code(&dataset.ingest(&[])), 0);
        assert_eq!(code(&dataset.ingest(&["--strict"])), 3);
    }
}

#[test]
fn a_dataset_at_a_url_of_no_known_kind_is_a_usage_error() {
    let dataset = Dataset::small();
    let output =
        command(std::path::Path::new("http://host/data"), &dataset.out(), &[]).output().unwrap();
    assert_eq!(code(&output), 2, "{}", stderr(&output));
}
