//! Tests datasets and work folders in an object store: the same bytes as on a disk, whatever goes
//! wrong on the way.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use ossify_tests::{Ended, FAULTS, Fault, ObjectStore, Project, copy_folder, read_json};

/// A local project and its twin in an object store, with a copy of the dataset.
struct Twins {
    local: Project,
    store: ObjectStore,
}

impl Twins {
    fn with_phantom(images: u32) -> Self {
        let (local, _) = Project::with_phantom(images);
        let store = ObjectStore::start();
        copy_folder(&local.dataset, &store.folder("dataset")).unwrap();
        Twins { local, store }
    }

    /// The command of a stage on the store, run in a separate folder for each simulated machine.
    fn command(&self, machine: &str, stage: &str, args: &[&str]) -> Command {
        let mut command =
            self.local.command_at(stage, &self.store.url("dataset"), &self.store.url("work"), args);
        self.store.configure(&mut command);
        let folder = self.local.path().join(machine);
        std::fs::create_dir_all(&folder).unwrap();
        command.current_dir(folder);
        command
    }

    fn run(&self, machine: &str, stage: &str, args: &[&str]) -> Ended {
        Ended::of(stage, self.command(machine, stage, args))
    }

    fn query(&self, sql: &str) -> String {
        let mut command = Command::new(ossify_tests::binary("ossify-query"));
        command
            .current_dir(self.local.path())
            .arg("--out")
            .arg(self.store.url("work"))
            .args(["--format", "csv", sql]);
        self.store.configure(&mut command);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The content of the store as a reader sees it: each file is the object that its manifest
    /// names.
    fn contents(&self) -> Vec<(String, String)> {
        let view = tempfile::tempdir().unwrap();
        let work = self.store.folder("work");
        let mut folders = vec![work.clone()];
        while let Some(folder) = folders.pop() {
            let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
            folders.extend(entries.filter(|path| path.is_dir()));
            let manifest = folder.join("manifest.json");
            if !manifest.is_file() {
                continue;
            }
            let target = view.path().join(folder.strip_prefix(&work).unwrap());
            for file in read_json(&manifest)["files"].as_array().unwrap() {
                let path = file["path"].as_str().unwrap();
                let stored = file["stored"].as_str().unwrap_or(path);
                assert!(stored.contains(file["xxh3"].as_str().unwrap()), "{stored}");
                std::fs::create_dir_all(target.join(path).parent().unwrap()).unwrap();
                std::fs::copy(folder.join(stored), target.join(path)).unwrap();
            }
            std::fs::copy(&manifest, target.join("manifest.json")).unwrap();
        }
        Project::contents_of(view.path())
    }
}

#[test]
fn a_pipeline_in_an_object_store_gives_the_bytes_of_one_on_disk() {
    let twins = Twins::with_phantom(80);
    twins.local.run_all(&[]);
    for (stage, machine) in
        [("ingest", "a"), ("resize", "a"), ("train", "b"), ("predict", "c"), ("evaluate", "a")]
    {
        let ended = twins.run(machine, stage, &[]).success();
        assert_eq!(
            (ended.status().as_str(), ended.json()["out"].as_str()),
            ("done", Some("s3://hospital/work")),
            "{stage}"
        );
    }
    assert_eq!(twins.contents(), twins.local.contents());
    for stage in ossify_tests::STAGES {
        assert_eq!(
            twins.run("d", stage, &[]).success().status(),
            "current",
            "{stage} on a machine that has seen nothing yet"
        );
    }
    let answer = twins.query("select count(*) as images from images");
    assert_eq!(answer, "images\n80\n");
}

/// Workers process shares, some twice and some killed, while many requests to the store fail.
#[test]
fn a_hundred_faults_lose_nothing_and_double_nothing() {
    const SHARES: usize = 4;
    let twins = Twins::with_phantom(120);
    twins.local.run("ingest", &[]).success();
    twins.local.run("resize", &[]).success();
    twins.store.fail_one_in(6);
    let mut deaths = 0;
    for stage in ["ingest", "resize"] {
        for share in 1..=SHARES {
            let partition = format!("{share}/{SHARES}");
            let args = ["--partition", partition.as_str()];
            // A worker that is killed at some moment, and then two at once on different machines,
            // as after a network partition.
            let mut lost = start(twins.command("lost", stage, &args));
            sleep(Duration::from_millis(60 * share as u64));
            deaths += usize::from(lost.try_wait().unwrap().is_none());
            lost.kill().unwrap();
            lost.wait().unwrap();
            let twice =
                ["left", "right"].map(|machine| start(twins.command(machine, stage, &args)));
            let codes = twice.map(|mut worker| worker.wait().unwrap().code());
            // A scheduler would retry what failed.
            if !codes.contains(&Some(0)) {
                twins.run("left", stage, &args).success();
            }
        }
        let merge = ["--merge".to_owned(), SHARES.to_string()];
        twins.run("merger", stage, &merge.each_ref().map(String::as_str)).success();
    }
    let faults = twins.store.faults();
    let kinds: BTreeSet<Fault> = faults.iter().map(|(kind, _)| *kind).collect();
    let puts = faults.iter().filter(|(_, request)| request.starts_with("PUT")).count();
    eprintln!(
        "{} faults in {} requests, {puts} of them puts; {deaths} workers lost, {} doubled",
        faults.len(),
        twins.store.requests(),
        2 * SHARES
    );
    assert!(faults.len() + deaths >= 100, "{} faults", faults.len());
    assert_eq!(kinds, FAULTS.into_iter().collect());
    twins.store.fail_one_in(0);
    let whole = |contents: Vec<(String, String)>| {
        contents.into_iter().filter(|(name, _)| !name.starts_with("parts/")).collect::<Vec<_>>()
    };
    assert_eq!(whole(twins.contents()), whole(twins.local.contents()));
}

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_store_that_does_not_answer_ends_the_run_and_hides_no_image() {
    let twins = Twins::with_phantom(20);
    twins.run("a", "ingest", &[]).success();
    let before = twins.contents();
    twins.store.fail_one_in(1);
    for stage in ["ingest", "resize"] {
        let ended = twins.run("a", stage, &["--force", "--set", "storage.retries=1"]);
        assert_eq!(ended.code(), 1, "{}", ended.stderr());
        assert!(ended.stderr().contains("s3://hospital/"), "{}", ended.stderr());
    }
    twins.store.fail_one_in(0);
    assert_eq!(twins.contents(), before);
}

#[test]
fn words_for_what_is_wrong_with_a_url() {
    let project = Project::new();
    let store = ObjectStore::start();
    let run = |dataset: &str, out: &str| {
        let mut command = project.command_at(
            "ingest",
            Path::new(dataset),
            Path::new(out),
            &["--set", "storage.retries=0"],
        );
        store.configure(&mut command);
        Ended::of("ingest", command)
    };
    for (dataset, out, code, words) in [
        ("s3://hospital/nothing", "work", 2, "there is no dataset at s3://hospital/nothing"),
        ("ftp://host/data", "work", 2, "ftp://host/data: no object store has such a URL; known"),
        ("s3:///data", "work", 2, "s3:///data names no bucket"),
        ("data", "http://host/work", 2, "cannot use the work folder http://host/work"),
        ("s3://no-such-bucket/data", "work", 1, "NoSuchBucket"),
    ] {
        let ended = run(dataset, out);
        assert_eq!(ended.code(), code, "{dataset} {out}: {}", ended.stderr());
        assert!(ended.stderr().contains(words), "{dataset} {out}: {}", ended.stderr());
    }
    assert!(!project.path().join("http:").exists() && !project.path().join("s3:").exists());
    let phantom = project
        .command_at("phantom", Path::new("s3://hospital/x"), Path::new("work"), &[])
        .output()
        .unwrap();
    assert_eq!(phantom.status.code(), Some(2));
}

#[test]
fn pruning_removes_old_objects_that_no_manifest_names_and_nothing_else() {
    let twins = Twins::with_phantom(20);
    twins.run("a", "ingest", &[]).success();
    // The files of the first run are no longer named by a manifest.
    twins.run("a", "ingest", &["--set", "ingest.min_objects_per_class=2"]).success();
    let tables = twins.store.folder("work/tables");
    let left = "left-0123456789abcdef.parquet";
    let (old, not_ours) = (tables.join(left), tables.join("notes.txt"));
    std::fs::write(&old, "old").unwrap();
    std::fs::write(&not_ours, "old").unwrap();
    let age = Duration::from_hours(10 * 24);
    for entry in std::fs::read_dir(&tables).unwrap() {
        let object = std::fs::File::options().write(true).open(entry.unwrap().path()).unwrap();
        object.set_modified(std::time::SystemTime::now() - age).unwrap();
    }
    let young = tables.join("young-0123456789abcdef.parquet");
    std::fs::write(&young, "young").unwrap();
    let contents = twins.contents();
    let names = || -> BTreeSet<String> {
        let entries = std::fs::read_dir(&tables).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let before = names();

    let listed = twins.run("b", "prune", &["--older-than", "250"]).success().json();
    assert_eq!(listed["summary"]["objects"], 0, "{listed}");
    let listed = twins.run("b", "prune", &[]).success().json();
    let found = listed["summary"]["found"].as_array().unwrap();
    assert!(found.contains(&format!("s3://hospital/work/tables/{left}").into()), "{listed}");
    assert!(found.len() > 1, "{listed}");
    assert_eq!(names(), before);

    let removed = twins.run("b", "prune", &["--remove"]).success().json();
    assert_eq!(removed["summary"]["objects"], found.len(), "{removed}");
    let gone: BTreeSet<_> = before.difference(&names()).cloned().collect();
    let expected: BTreeSet<_> = found
        .iter()
        .map(|url| url.as_str().unwrap().rsplit('/').next().unwrap().to_owned())
        .collect();
    assert_eq!(gone, expected);
    assert!(!old.exists() && young.exists() && not_ours.exists());
    assert_eq!(twins.contents(), contents);
    let again = twins.run("c", "ingest", &["--set", "ingest.min_objects_per_class=2"]);
    assert_eq!(again.success().status(), "current");
}

/// Listing, prefetching and fetching in pieces, with shards larger than a request.
#[test]
fn manifests_in_the_store_say_what_lies_there() {
    let twins = Twins::with_phantom(120);
    twins.run("a", "ingest", &[]).success();
    // Shards larger than one request.
    twins.run("a", "resize", &["--set", "resize.images_per_shard=100"]).success();
    let manifest = read_json(&twins.store.folder("work/shards/manifest.json"));
    let largest = manifest["files"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|file| file["bytes"].as_u64())
        .max();
    assert!(largest > Some(8 << 20), "{largest:?}");
    let local = twins.local.run("ingest", &[]).success().status();
    assert_eq!(local, "done");
    twins.local.run("resize", &["--set", "resize.images_per_shard=100"]).success();
    assert_eq!(twins.contents(), twins.local.contents());
}
