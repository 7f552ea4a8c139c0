//! Tests what all programs have in common: exit codes, standard output, the environment, work
//! folders.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, File};
use std::process::{Command, Output, Stdio};

use ossify_tests::{Project, STAGES, binary};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ends_with(output: &Output, what: &str, code: i32, said: &str) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{what}: {stderr}");
    assert!(stderr.contains(said), "{what} does not say {said:?}: {stderr}");
    assert!(!stderr.contains("panicked"), "{what}: {stderr}");
}

#[test]
fn the_same_mistake_has_the_same_exit_code_in_all_programs() {
    let (project, _) = Project::with_phantom(30);
    fs::write(project.path().join("large.toml"), "[general]\nseed = 18446744073709551615\n")
        .unwrap();
    fs::write(project.path().join("old.toml"), "[train]\nlabel_smoothing = 0.1\n").unwrap();
    fs::write(project.path().join("latin.toml"), b"[general]\n# \xe9t\xe9\n").unwrap();
    for stage in STAGES.iter().chain(&["phantom", "prune"]) {
        for (args, said) in [
            (&["--config", "latin.toml"][..], "latin.toml:2:3: the byte 0xe9 is not UTF-8"),
            (&["--config", "/dev/zero"], "the conf file /dev/zero has more than 1048576 bytes"),
            (&["--config", "large.toml"], "large.toml:2:8: general.seed = 18446744073709551615"),
            (&["--config", "nowhere.toml"], "cannot read the conf file nowhere.toml"),
            (
                &["--config", "old.toml"],
                "old.toml:2:1: train.label_smoothing is now train.loss.label_smoothing",
            ),
            (&["--set", "general.seed"], "should be SECTION.KEY=VALUE"),
            (&["--set", "general.sed=1"], "did you mean `general.seed`?"),
            (&["--set", "general.threads=-1"], "general.threads = -1: it should be a whole number"),
            (
                &["--set", "phantom.images=9223372036854775807"],
                "phantom.images = 9223372036854775807: it should lie between",
            ),
            (
                &["--set", "train.model.head_widths=[9223372036854775807]"],
                "train.model.head_widths = [9223372036854775807]: it should lie between",
            ),
            (&["--set", "dataset.class_names=[\"a\", \"a\"]"], "\"a\" is repeated"),
            (&["--set", "dataset.class_names=[\"a\", \"\"]"], "is empty"),
            (&["--dataset", "http://host/dataset"], "known are s3://"),
            (&["--out", "http://host/work"], "known are s3://"),
            (&["--dataset", "s3://"], "names no bucket"),
            (&["--out", "s3://"], "names no bucket"),
            (&["--no-such-flag"], "--no-such-flag"),
        ] {
            let mut command = Command::new(binary(&format!("ossify-{stage}")));
            let output = command.args(args).current_dir(project.path()).output().unwrap();
            ends_with(&output, &format!("{stage} {args:?}"), 2, said);
        }
    }
    for (stage, key) in [("predict", "predict.run"), ("evaluate", "evaluate.predictions")] {
        project.run("ingest", &[]).success();
        for id in ["nowhere", "../runs"] {
            let output = project.command(stage, &["--set", &format!("{key}={id}")]).output();
            ends_with(&output.unwrap(), &format!("{stage} {id}"), 2, id);
        }
        let output = project.command(stage, &[]).output().unwrap();
        ends_with(&output, &format!("{stage} latest"), 1, "run ossify-");
    }
    for args in [
        &["--out", "data/work/local"][..],
        &[],
        &["--out", "s3://hospital/work", "--older-than", "23"],
    ] {
        let output = Command::new(binary("ossify-prune")).args(args).output().unwrap();
        let said = if args.len() > 2 {
            "it should be a whole number between 24 and 1000000"
        } else {
            "name one in an object store"
        };
        ends_with(&output, &format!("prune {args:?}"), 2, said);
    }
    let mut query = Command::new(binary("ossify-query"));
    query.arg("--out").arg(&project.out).args(["--file", "nowhere.sql"]);
    ends_with(&query.output().unwrap(), "query", 2, "cannot read the query nowhere.sql");
}

#[test]
fn a_variable_that_is_not_utf8_is_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let project = Project::new();
    for stage in STAGES {
        let mut command = project.command(stage, &["--print-config"]);
        command.env("OSSIFY__TRAIN__MODEL__WEIGHTS", OsStr::from_bytes(b"\xff"));
        ends_with(&command.output().unwrap(), stage, 2, "OSSIFY__TRAIN__MODEL__WEIGHTS");
    }
}

#[test]
fn a_summary_that_cannot_be_written_is_a_failure() {
    let (project, _) = Project::with_phantom(60);
    for stage in ["phantom", "ingest", "resize", "train", "predict", "evaluate"] {
        project.run(stage, &[]).success();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = project.command(stage, &[]).stdout(full).output().unwrap();
        ends_with(&output, stage, 1, "cannot write the summary to standard output");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = project.command(stage, &[]).stdout(writer).output().unwrap();
        ends_with(&output, stage, 1, "cannot write the summary to standard output");
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = project.command(stage, &["--print-config"]).stdout(full).output().unwrap();
        ends_with(&output, stage, 1, "cannot write the configuration to standard output");
        // A reader that stops early, like `head`, is not an error.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = project.command(stage, &["--print-config"]).stdout(writer).output().unwrap();
        ends_with(&output, stage, 0, "");
    }
}

#[test]
fn a_closed_standard_output_is_a_failure_where_something_is_printed() {
    let (project, _) = Project::with_phantom(30);
    let closed = |program: &str, args: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" >&-", "sh"]).arg(binary(program)).args(args);
        command.current_dir(project.path()).output().unwrap()
    };
    let lost =
        |what: &str| format!("cannot write {what} to standard output\n  cause: it is closed");
    let ingest = ["--dataset", "dataset", "--out", "closed"];
    ends_with(&closed("ossify-ingest", &ingest), "ingest", 0, "");
    let output = closed("ossify-ingest", &[&ingest[..], &["--json"]].concat());
    ends_with(&output, "--json", 1, &lost("the summary"));
    let output = closed("ossify-ingest", &["--print-config"]);
    ends_with(&output, "--print-config", 1, &lost("the configuration"));
    let output = closed("ossify-ingest", &["explain"]);
    ends_with(&output, "explain", 1, &lost("the rules"));
    let output = closed("ossify-query", &["--out", "closed", "SELECT 1"]);
    ends_with(&output, "query", 1, &lost("the answer"));
    ends_with(&closed("ossify-train", &["--help"]), "--help", 1, &lost("the help"));
}

#[test]
fn help_that_cannot_be_printed_is_a_failure() {
    for program in STAGES.iter().chain(&["phantom", "prune", "query"]) {
        for flag in ["--help", "--version"] {
            let full = File::options().write(true).open("/dev/full").unwrap();
            let mut command = Command::new(binary(&format!("ossify-{program}")));
            let output = command.arg(flag).stdout(full).output().unwrap();
            ends_with(&output, program, 1, "cannot write the help to standard output");
            let output = Command::new(binary(&format!("ossify-{program}"))).arg(flag).output();
            ends_with(&output.unwrap(), program, 0, "");
        }
    }
}

#[test]
fn all_programs_have_the_same_work_folder_without_a_conf_file() {
    let (project, _) = Project::with_phantom(30);
    let run = |program: &str, args: &[&str]| {
        let mut command = Command::new(binary(program));
        command.args(args).current_dir(project.path()).stdin(Stdio::null()).output().unwrap()
    };
    let dataset = project.dataset.to_string_lossy().into_owned();
    let output = run("ossify-ingest", &["--dataset", &dataset]);
    ends_with(&output, "ingest", 0, "");
    assert!(project.path().join("data/work/default/tables/manifest.json").exists());
    let output = run("ossify-query", &["SELECT COUNT(*) AS images FROM images"]);
    ends_with(&output, "query", 0, "");
    assert!(text(&output.stdout).contains("images"), "{}", text(&output.stdout));
}

#[test]
fn a_dataset_named_by_its_description_is_the_same_in_all_stages() {
    let (project, _) = Project::with_phantom(60);
    let yaml = project.dataset.join("data.yaml");
    for stage in STAGES {
        let command = project.command_at(stage, &yaml, &project.out, &[]);
        let output = { command }.output().unwrap();
        ends_with(&output, stage, 0, "");
    }
    let command = project.command_at("resize", &project.dataset, &project.out, &[]);
    let output = { command }.output().unwrap();
    assert!(text(&output.stdout).contains("\"status\":\"current\""), "{}", text(&output.stdout));
}

/// Runs a program with so many KiB of address space.
fn run_within(kibibytes: u64, project: &Project, program: &str, args: &[&str]) -> Output {
    Command::new("sh")
        .args(["-c", &format!("ulimit -v {kibibytes} && exec \"$@\""), "sh"])
        .arg(binary(&format!("ossify-{program}")))
        .args(["--config", "test.toml", "--out", "work"])
        .args(args)
        .current_dir(project.path())
        .stdin(Stdio::null())
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// Signals that end a program without a word have no exit code. 127 is the loader's, which maps the
/// libraries before anything of ours can run. Query is left out: polars panics where it is refused
/// a thread.
#[test]
fn whatever_the_address_space_a_program_ends_well_or_in_words() {
    let (project, _) = Project::with_phantom(60);
    project.run_all(&[]);
    let programs: [(&str, &[&str]); 6] = [
        ("phantom", &["--dataset", "other", "--images", "20"]),
        ("ingest", &["--force", "--dataset", "dataset"]),
        ("resize", &["--force", "--dataset", "dataset"]),
        ("train", &["--force"]),
        ("predict", &["--force"]),
        ("evaluate", &["--force", "--dataset", "dataset"]),
    ];
    for (program, args) in programs {
        // The least that the loader needs for the program and its libraries.
        let loads = |kibibytes| {
            let output = run_within(kibibytes, &project, program, &["--version"]);
            matches!(output.status.code(), Some(0 | 1))
        };
        let (mut least, mut enough) = (0, 64 << 20);
        while enough - least > 1024 {
            let middle = u64::midpoint(least, enough);
            (least, enough) = if loads(middle) { (least, middle) } else { (middle, enough) };
        }
        let mut ended = Vec::new();
        for more in [2, 64, 136, 152, 200, 4096] {
            let output = run_within(enough + more * 1024, &project, program, args);
            let what = format!("{program} with {more} MiB more than its {enough} KiB");
            let (code, said) = (output.status.code(), text(&output.stderr));
            assert!(matches!(code, Some(0 | 1)), "{what}: {:?}: {said}", output.status);
            // A library may panic on the way. OpenMP ends the program itself where it is refused a
            // thread.
            let is_explained = ["error: ", "libgomp: Thread creation failed"]
                .iter()
                .any(|words| said.contains(words));
            assert!(code == Some(0) || is_explained, "{what}: {said}");
            ended.extend(code);
        }
        assert_eq!((ended.first(), ended.last()), (Some(&1), Some(&0)), "{program}: {ended:?}");
    }
}
