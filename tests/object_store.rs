//! Tests datasets and work folders in an object store: the same bytes as on a disk, whatever goes
//! wrong on the way.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

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

/// The client library refuses a whole listing for such a key.
#[test]
fn a_key_that_cannot_be_asked_for_is_a_finding_and_hides_no_other() {
    let twins = Twins::with_phantom(30);
    let images = twins.store.folder("dataset").join("valid/images");
    let first = std::fs::read_dir(&images).unwrap().next().unwrap().unwrap().path();
    std::fs::copy(first, images.join("a\tb.png")).unwrap();
    std::fs::write(images.with_file_name("labels").join("a\tb.txt"), "").unwrap();
    let ended = twins.run("a", "ingest", &[]).success();
    assert_eq!(ended.status(), "done");
    let stderr = ended.stderr();
    assert!(stderr.contains("1 label file is below") && stderr.contains("a b.txt"), "{stderr}");
    let answer = twins.query("select count(*) as images from images");
    assert_eq!(answer, "images\n30\n");
    let answer =
        twins.query("select path, rule from issues where path like 'valid/images/a_b.png'");
    assert_eq!(answer, "path,rule\nvalid/images/a\tb.png,image-unreadable\n");
    twins.run("a", "resize", &[]).success();
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
        ("data", "s3:/hospital/work", 2, "s3:/hospital/work: a URL has two slashes"),
        ("s3:/hospital/data", "work", 2, "s3:/hospital/data: a URL has two slashes"),
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

/// Makes all objects of a folder older.
fn age(folder: &Path, days: u64) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let object = std::fs::File::options().write(true).open(entry.unwrap().path()).unwrap();
        object.set_modified(SystemTime::now() - Duration::from_hours(24 * days)).unwrap();
    }
}

/// Makes it as if the manifest of a folder had been replaced earlier.
fn age_manifest(folder: &Path, days: i64) {
    let path = folder.join("manifest.json");
    let mut manifest = read_json(&path);
    for earlier in manifest["superseded"].as_array_mut().unwrap() {
        earlier["at_s"] = (earlier["at_s"].as_i64().unwrap() - days * 24 * 3600).into();
    }
    std::fs::write(&path, manifest.to_string()).unwrap();
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn pruning_removes_what_no_manifest_has_named_for_long_and_nothing_else() {
    let twins = Twins::with_phantom(20);
    twins.run("a", "ingest", &[]).success();
    // The files of the first run are no longer named by a manifest.
    twins.run("a", "ingest", &["--set", "ingest.min_objects_per_class=2"]).success();
    let tables = twins.store.folder("work/tables");
    // Some of these are named as ours are.
    let beside = twins.store.folder("work/tables-0123456789abcdef");
    std::fs::create_dir(&beside).unwrap();
    for (folder, name) in [
        (&tables, "notes.txt"),
        (&tables, "copied-0123456789abcdef.parquet"),
        (&beside, "copied-0123456789abcdef.parquet"),
    ] {
        std::fs::write(folder.join(name), "not ours").unwrap();
    }
    age(&tables, 10);
    age(&beside, 10);
    let (contents, before) = (twins.contents(), names_in(&tables));
    let found = |args: &[&str]| twins.run("b", "prune", args).success().json()["summary"].clone();
    assert_eq!(found(&[])["objects"], 0, "a reader may have begun before they were replaced");
    age_manifest(&tables, 10);
    assert_eq!(found(&["--older-than", "250"])["objects"], 0);
    let listed = found(&[]);
    let urls: Vec<&str> =
        listed["found"].as_array().unwrap().iter().map(|url| url.as_str().unwrap()).collect();
    assert!(urls.len() > 1, "{listed}");
    assert!(urls.iter().all(|url| url.starts_with("s3://hospital/work/tables/")), "{listed}");
    assert_eq!((names_in(&tables), &listed["removed"]), (before.clone(), &false.into()));

    let removed = found(&["--remove"]);
    assert_eq!((&removed["objects"], &removed["removed"]), (&urls.len().into(), &true.into()));
    let gone: BTreeSet<_> = before.difference(&names_in(&tables)).cloned().collect();
    let expected: BTreeSet<_> =
        urls.iter().map(|url| url.rsplit('/').next().unwrap().to_owned()).collect();
    assert_eq!(gone, expected);
    assert_eq!(names_in(&beside).len(), 1);
    assert_eq!(twins.contents(), contents);
    assert_eq!(found(&["--remove"])["objects"], 0);
    let again = twins.run("c", "ingest", &["--set", "ingest.min_objects_per_class=2"]);
    assert_eq!(again.success().status(), "current");
}

#[test]
fn what_prune_says_and_how_it_ends() {
    let twins = Twins::with_phantom(20);
    twins.run("a", "ingest", &[]).success();
    twins.run("a", "ingest", &["--set", "ingest.min_objects_per_class=2"]).success();
    let tables = twins.store.folder("work/tables");
    age(&tables, 10);
    age_manifest(&tables, 10);
    // Without --json, as people call it.
    let prune = |out: &str, args: &[&str]| {
        let mut command = Command::new(ossify_tests::binary("ossify-prune"));
        command.current_dir(twins.local.path()).args(["--set", "storage.retries=0"]);
        command.args(["--out", out]).args(args);
        twins.store.configure(&mut command);
        command
    };
    let run = |out: &str, args: &[&str]| Ended::of("prune", prune(out, args));
    let work = "s3://hospital/work";

    let before = names_in(&tables);
    let listed = run(work, &[]).success();
    let lines = listed.stdout();
    assert!(lines.lines().all(|line| line.starts_with("s3://hospital/work/tables/")), "{lines}");
    let count = lines.lines().count();
    assert!(count > 1, "{lines}");
    for part in [&format!("prune: {count} objects, "), " MB, can go; --remove removes them"] {
        assert!(listed.stderr().contains(part), "{}", listed.stderr());
    }
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = prune(work, &[]);
    command.stdout(full);
    assert_eq!(command.status().unwrap().code(), Some(1), "the list reaches nobody");

    for (out, args, words) in [
        ("work", &[][..], "the work folder work is on this machine"),
        ("ftp://host/work", &[], "ftp://host: no object store has such a URL"),
        (work, &["--older-than", "23"], "it should be a whole number between 24 and 1000000"),
        (work, &["--older-than", "week"], "invalid value 'week'"),
        (work, &["--delete"], "unexpected argument '--delete'"),
    ] {
        run(out, args).fails_with(2, &[words]);
    }
    run("s3://hospital/nothing", &["--remove"])
        .fails_with(1, &["there is no work folder s3://hospital/nothing"]);
    run("s3://no-such-bucket/work", &[]).fails_with(1, &["cannot prune the work folder"]);
    twins.store.fail_one_in(1);
    run(work, &["--remove"]).fails_with(1, &["cannot prune the work folder", work]);
    twins.store.fail_one_in(0);
    let manifest = std::fs::read(tables.join("manifest.json")).unwrap();
    std::fs::write(tables.join("manifest.json"), "<html>").unwrap();
    run(work, &["--remove"]).fails_with(
        1,
        &["s3://hospital/work/tables/manifest.json: damaged, or no manifest", "--force"],
    );
    std::fs::write(tables.join("manifest.json"), manifest).unwrap();
    assert_eq!(names_in(&tables), before);

    let removed = run(work, &["--remove"]).success();
    assert_eq!(removed.stdout(), "");
    let sentence = format!("prune: removed {count} objects, ");
    assert!(removed.stderr().contains(&sentence), "{}", removed.stderr());
}

/// The only object in a folder of the store whose name begins like this.
fn object(folder: &Path, beginning: &str) -> PathBuf {
    let found: Vec<_> =
        names_in(folder).into_iter().filter(|name| name.starts_with(beginning)).collect();
    assert_eq!(found.len(), 1, "{beginning}: {found:?}");
    folder.join(&found[0])
}

fn flip_a_bit(object: &Path) {
    let mut bytes = std::fs::read(object).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(object, bytes).unwrap();
}

/// Folder in the work folder, beginning of an object's name, the stage that makes it, and one that
/// reads it.
type Made<'a> = (&'a str, &'a str, &'a str, &'a str);

/// Each stage runs on a machine that has seen nothing yet.
#[test]
fn what_a_store_has_lost_or_damaged_is_made_again_by_its_stage_and_harms_no_other() {
    let twins = Twins::with_phantom(60);
    for stage in ossify_tests::STAGES {
        twins.run("a", stage, &[]).success();
    }
    // Reports show how long training took.
    let contents = || {
        let contents = twins.contents().into_iter();
        contents.filter(|(path, _)| !path.starts_with("reports")).collect::<Vec<_>>()
    };
    let before = contents();
    let runs = twins.store.folder("work/runs");
    let id = std::fs::read_to_string(runs.join("latest")).unwrap().trim().to_owned();
    let [run, report] = [format!("runs/{id}"), format!("reports/{id}/valid")];
    let figures = format!("{report}/figures");
    let mut machines = (0..).map(|number| format!("new-{number}"));
    let mut run_anew = |stage: &str, args: &[&str]| {
        let machine = machines.next().unwrap_or_default();
        twins.run(&machine, stage, args)
    };

    // Files that no later stage reads, some of them small enough to be fetched in advance.
    let unread = [
        ("tables", "ingest-", "ingest"),
        ("shards", "leaks-", "resize"),
        (&run, "curves-", "train"),
        (&figures, "roc-", "evaluate"),
    ];
    for (folder, beginning, _) in unread {
        let folder = twins.store.folder(&format!("work/{folder}"));
        std::fs::remove_file(object(&folder, beginning)).unwrap();
    }
    assert_eq!(run_anew("predict", &[]).success().status(), "current");
    for (_, _, stage) in unread {
        assert_eq!(run_anew(stage, &[]).success().status(), "done", "{stage}");
        assert_eq!(run_anew(stage, &[]).success().status(), "current", "{stage}");
    }
    assert_eq!(contents(), before);

    let read: [Made; 5] = [
        ("tables", "objects-", "ingest", "train"),
        // The shards of train are larger than a file that is fetched in advance, others are not.
        ("shards", "train-00000-", "resize", "train"),
        ("shards", "valid-00000-", "resize", "predict"),
        (&run, "model-", "train", "predict"),
        (&format!("predictions/{id}"), "valid-", "predict", "evaluate"),
    ];
    for (folder, beginning, stage, reader) in read {
        let folder = twins.store.folder(&format!("work/{folder}"));
        let lost = object(&folder, beginning);
        std::fs::remove_file(&lost).unwrap();
        let advice = format!("run ossify-{stage} again with --force");
        run_anew(reader, &["--force"]).fails_with(1, &[&advice]);
        assert_eq!(run_anew(stage, &[]).success().status(), "done", "{stage}");
        flip_a_bit(&object(&folder, beginning));
        run_anew(reader, &["--force"])
            .fails_with(1, &["is not the content that its manifest lists", &advice]);
        run_anew(stage, &["--force"]).success();
        assert_eq!(contents(), before, "{stage} {beginning}");
        assert_eq!(run_anew(stage, &[]).success().status(), "current", "{stage}");
    }

    for (folder, stage, reader) in [
        ("tables", "ingest", "resize"),
        ("shards", "resize", "predict"),
        (&run, "train", "predict"),
        (&report, "evaluate", ""),
    ] {
        let manifest = twins.store.folder(&format!("work/{folder}/manifest.json"));
        for content in ["", "<html>", "{}"] {
            std::fs::write(&manifest, content).unwrap();
            let stage_named = format!("ossify-{stage}");
            if !reader.is_empty() {
                run_anew(reader, &["--force"]).fails_with(1, &[&stage_named]);
            }
            run_anew(stage, &["--force"]).success();
            assert_eq!(contents(), before, "{folder}: {content}");
        }
    }
}

/// The machine that made an output has its files, but not what others find in the store.
#[test]
fn the_machine_that_made_what_a_store_has_lost_sends_it_again() {
    let twins = Twins::with_phantom(60);
    for stage in ["ingest", "resize"] {
        twins.run("a", stage, &[]).success();
    }
    let shards = twins.store.folder("work/shards");
    let lost = object(&shards, "train-00000-");
    let content = std::fs::read(&lost).unwrap();
    for damage in ["lost", "cut"] {
        std::fs::remove_file(&lost).unwrap();
        if damage == "cut" {
            std::fs::write(&lost, &content[1..]).unwrap();
        }
        let ended = twins.run("a", "resize", &["--verbose"]).success();
        assert_eq!(ended.status(), "done", "{damage}");
        assert!(!ended.stderr().contains("images decoded"), "{}", ended.stderr());
        twins.contents();
        assert_eq!(twins.run("b", "resize", &[]).success().status(), "current");
        std::fs::write(&lost, &content).unwrap();
    }
}

#[test]
fn a_damaged_part_is_named_by_the_merge_and_made_again() {
    let twins = Twins::with_phantom(60);
    twins.run("a", "ingest", &[]).success();
    for share in ["1/2", "2/2"] {
        twins.run("a", "resize", &["--partition", share]).success();
    }
    twins.run("b", "resize", &["--merge", "2"]).success();
    let before = twins.contents();
    let part = twins.store.folder("work/parts/resize/2/2");
    let advice = "run ossify-resize --partition 2/2 again with --force";
    let shards = || {
        let names = names_in(&part).into_iter().filter(|name| name.ends_with(".arrow"));
        names.map(|name| part.join(name)).collect::<Vec<_>>()
    };
    flip_a_bit(&shards()[0]);
    twins.run("c", "resize", &["--merge", "2", "--force"]).fails_with(1, &[advice]);
    twins.run("d", "resize", &["--partition", "2/2", "--force"]).success();
    twins.run("e", "resize", &["--merge", "2", "--force"]).success();
    shards().iter().for_each(|shard| std::fs::remove_file(shard).unwrap());
    twins.run("f", "resize", &["--merge", "2", "--force"]).fails_with(1, &[advice]);
    twins.run("g", "resize", &["--partition", "2/2"]).success();
    twins.run("h", "resize", &["--merge", "2", "--force"]).success();
    assert_eq!(twins.contents(), before);
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
