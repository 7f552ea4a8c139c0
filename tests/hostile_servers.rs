//! Servers that answer otherwise than a store: every stage ends, in words, and takes nothing of it
//! for data.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use ossify_tests::{Ended, Honest, HostileStore, Hostility, ObjectStore, Project};

/// Limits of a request, so that no test waits for long.
const SOON: [&str; 4] = ["--set", "storage.timeout_s=1", "--set", "storage.retries=1"];

fn end(project: &Project, store: &HostileStore, stage: &str, dataset: &str, out: &str) -> Ended {
    let mut command = project.command_at(stage, Path::new(dataset), Path::new(out), &SOON);
    store.configure(&mut command);
    Ended::of(stage, command)
}

fn check(hostility: Hostility, honest: Honest, ended: &Ended, took: Duration, words: &str) {
    let stderr = ended.stderr();
    eprintln!("{hostility:?} {honest:?}: {took:?}\n{stderr}");
    assert_eq!(ended.code(), 1, "{hostility:?} {honest:?}:\n{stderr}");
    assert!(stderr.contains("s3://hospital/"), "{hostility:?} {honest:?}:\n{stderr}");
    assert!(stderr.contains(words), "{hostility:?} {honest:?}: `{words}` is not in:\n{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(took < Duration::from_secs(60), "{hostility:?} {honest:?}: {took:?}");
}

#[test]
fn a_listing_that_is_none_is_an_error_and_not_an_empty_folder() {
    let project = Project::new();
    for (hostility, words) in [
        (Hostility::SamePages, "the object store lists "),
        (Hostility::EmptyPages, "the object store lists "),
        (Hostility::Html, "is not a list of objects but begins with \"<!DOCTYPE html>"),
        (Hostility::Empty, "is not a list of objects but is empty"),
        (Hostility::Endless, "the answer has more than 16 MiB"),
        (Hostility::Slow, "no whole answer"),
        (Hostility::Silent, "no whole answer"),
    ] {
        let store = HostileStore::start(hostility, Honest::Never);
        for (stage, dataset, out) in
            [("prune", "dataset", "s3://hospital/work"), ("ingest", "s3://hospital/data", "work")]
        {
            let began = Instant::now();
            let ended = end(&project, &store, stage, dataset, out);
            check(hostility, Honest::Never, &ended, began.elapsed(), words);
        }
    }
    assert!(!project.path().join("work/tables/manifest.json").exists());
}

#[test]
fn an_object_that_is_none_is_an_error_and_not_content() {
    let project = Project::new();
    for (hostility, words) in [
        (Hostility::Html, "the answer is not the part of it that was asked for"),
        (Hostility::Empty, "the answer is not the part of it that was asked for"),
        (Hostility::Endless, "the answer is longer than the 100 bytes that it announces"),
        (Hostility::Slow, "no whole answer"),
        (Hostility::Silent, "no whole answer"),
    ] {
        let store = HostileStore::start(hostility, Honest::InListings);
        let began = Instant::now();
        let ended = end(&project, &store, "prune", "dataset", "s3://hospital/work");
        check(hostility, Honest::InListings, &ended, began.elapsed(), words);
        assert!(store.requests() < 50, "{hostility:?}: {} requests", store.requests());
    }
}

/// `std::env::vars` ends the process where a variable is not UTF-8, and clients of stores do as if
/// it were not set.
#[test]
fn variables_that_are_not_utf8_are_refused_where_they_are_read_and_else_do_no_harm() {
    let project = Project::new();
    let store = ObjectStore::start();
    let odd = OsStr::from_bytes(b"k\xFFy");
    let run = |name: &OsStr| {
        let mut command = project.command_at(
            "prune",
            Path::new("dataset"),
            Path::new("s3://hospital/work"),
            &SOON,
        );
        store.configure(&mut command);
        command.env(name, odd);
        Ended::of("prune", command)
    };
    const NOTHING: &str = "there is no work folder s3://hospital/work";
    for name in ["LS_COLORS", "GOOGLE_SERVICE_ACCOUNT", "PATH"] {
        run(OsStr::new(name)).fails_with(1, &[NOTHING]);
    }
    run(odd).fails_with(1, &[NOTHING]);
    for name in ["AWS_SECRET_ACCESS_KEY", "AWS_REGION", "https_proxy", "OSSIFY__STORAGE__RETRIES"] {
        run(OsStr::new(name)).fails_with(2, &[name, "UTF-8"]);
    }
}
