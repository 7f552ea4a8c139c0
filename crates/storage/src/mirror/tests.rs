//! Mirrors and a store in memory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::bucket::{Bucket, open_in_memory};
use crate::mirror::cache::SMALL_BYTES;
use crate::mirror::folder::{Mirror, Moved};
use crate::mirror::index::MANIFEST;
use crate::mirror::publication::Trust;
use crate::mirror::registry::{
    fetch, fetch_ahead, give_second_name, is_lost, is_whole, rename, room_for, size,
};
use crate::object::Condition;

const LARGE: usize = SMALL_BYTES as usize + 1;

struct Machine {
    mirror: Arc<Mirror>,
    cache: tempfile::TempDir,
}

impl Machine {
    fn new(bucket: &str, room_bytes: u64) -> Self {
        let cache = tempfile::tempdir().unwrap();
        let mirror =
            Mirror::open(&Path::new(bucket).join("work"), cache.path(), room_bytes).unwrap();
        Machine { mirror, cache }
    }

    fn path(&self, inner: &str) -> PathBuf {
        self.mirror.root().join(inner)
    }

    /// Publishes as a stage does: files under new names of the file system, the manifest last.
    fn publish(&self, folder: &str, files: &[(&str, &[u8])]) {
        for (name, content) in files {
            self.write(&format!("{folder}/{name}"), content);
        }
        self.write(&format!("{folder}/{MANIFEST}"), &manifest(files));
    }

    fn write(&self, inner: &str, content: &[u8]) {
        let path = self.path(inner);
        let beside = path.with_extension("new");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&beside, content).unwrap();
        fs::rename(beside, path).unwrap();
    }

    fn pull(&self, folder: &str) -> Moved {
        self.mirror.pull(&[folder.to_owned()], |_| ()).unwrap()
    }

    fn push(&self, folder: &str) -> io::Result<Moved> {
        self.mirror.push(&[folder.to_owned()], Trust::Size)
    }

    /// What a reader finds, once it has opened it.
    fn read(&self, inner: &str) -> Option<Vec<u8>> {
        fetch(&self.path(inner)).unwrap();
        fs::read(self.path(inner)).ok()
    }
}

fn manifest(files: &[(&str, &[u8])]) -> Vec<u8> {
    let listed: Vec<_> = files
        .iter()
        .map(|(name, content)| {
            serde_json::json!({
                "path": name,
                "bytes": content.len(),
                "xxh3": format!("{:016x}", xxh3_64(content)),
            })
        })
        .collect();
    let manifest = serde_json::json!({ "schema_version": 2, "files": listed });
    let mut text = serde_json::to_vec_pretty(&manifest).unwrap();
    text.push(b'\n');
    text
}

fn objects(bucket: &Bucket, folder: &str) -> Vec<String> {
    bucket.list(folder).unwrap().map(|object| object.unwrap().key).collect()
}

#[test]
fn a_key_that_is_a_folder_as_well_is_passed_over_if_empty_and_else_refused_with_its_url() {
    let bucket = open_in_memory("test://both");
    let [first, second] = [0, 1].map(|_| Machine::new("test://both", 1 << 30));
    first.publish("tables", &[("a.parquet", b"a")]);
    first.push("tables").unwrap();
    first.write("runs/one/note", b"x");
    bucket.put_over("work/runs/one/note", Bytes::from_static(b"x")).unwrap();
    for folder in ["work/tables", "work/runs/one"] {
        bucket.put_over(folder, Bytes::new()).unwrap();
    }
    second.pull("tables");
    assert_eq!(second.read("tables/a.parquet").as_deref(), Some(&b"a"[..]));
    second.pull("runs");
    assert_eq!(second.read("runs/one/note").as_deref(), Some(&b"x"[..]));
    bucket.put_over("work/runs/one", Bytes::from_static(b"x")).unwrap();
    let error = second.mirror.pull(&["runs".to_owned()], |_| ()).unwrap_err().to_string();
    assert!(
        error.contains("test://both/work/runs/one is an object, and there are others below it"),
        "{error}"
    );
    assert!(error.contains("delete it, or name another work folder"), "{error}");
}

#[test]
fn what_the_disk_refuses_is_named() {
    let bucket = open_in_memory("test://refused");
    let [first, second] = [0, 1].map(|_| Machine::new("test://refused", 1 << 30));
    first.publish("tables", &[("sub/a.parquet", b"a")]);
    first.push("tables").unwrap();
    second.write("tables/sub", b"a file");
    let error = second.mirror.pull(&["tables".to_owned()], |_| ()).unwrap_err().to_string();
    assert!(error.contains("tables/sub"), "{error}");
    drop(bucket);
}

#[test]
fn a_file_that_is_nowhere_is_named_by_its_url_with_what_makes_it() {
    let bucket = open_in_memory("test://nowhere");
    let machine = Machine::new("test://nowhere", 1 << 30);
    machine.publish("tables", &[("a.parquet", b"a")]);
    fs::remove_file(machine.path("tables/a.parquet")).unwrap();
    let error = machine.push("tables").unwrap_err().to_string();
    assert!(error.starts_with("there is no test://nowhere/work/tables/a-"), "{error}");
    assert!(error.contains("this machine has no file for it; run ossify-ingest again"), "{error}");
    assert!(objects(&bucket, "work").is_empty());
}

#[test]
fn what_one_machine_published_another_finds() {
    let bucket = open_in_memory("test://one");
    let [first, second] = [0, 1].map(|_| Machine::new("test://one", 1 << 30));
    let large = vec![7; LARGE];
    first.publish("tables", &[("a.parquet", b"a"), ("sub/large", &large)]);
    first.write("runs/latest", b"run");
    assert_eq!(first.push("tables").unwrap(), Moved { files: 2, bytes: 1 + LARGE as u64 });
    first.push("runs").unwrap();
    assert_eq!(first.push("tables").unwrap(), Moved::default(), "nothing is sent twice");
    let hash = format!("{:016x}", xxh3_64(&large));
    let stored = format!("work/tables/sub/large-{hash}");
    assert!(objects(&bucket, "work").contains(&stored));

    assert_eq!(second.pull("tables").files, 2, "the manifest and the small file");
    second.pull("runs");
    assert_eq!(
        (second.read("tables/a.parquet").as_deref(), second.read("runs/latest").as_deref()),
        (Some(&b"a"[..]), Some(&b"run"[..]))
    );
    assert_eq!(
        second.read("tables/manifest.json"),
        first.read("tables/manifest.json"),
        "on a disk a manifest says nothing of objects"
    );
    let path = second.path("tables/sub/large");
    assert!(
        !path.exists() && size(&path) == Some(LARGE as u64),
        "a large file is known and not fetched"
    );
    assert_eq!(is_whole(&path, LARGE as u64, &hash).unwrap(), Some(true));
    assert_eq!(is_whole(&path, LARGE as u64, "0").unwrap(), Some(false));
    assert_eq!(second.read("tables/sub/large"), Some(large));
    assert_eq!(second.pull("tables"), Moved::default());
    assert_eq!(second.push("tables").unwrap(), Moved::default());
}

#[test]
fn a_reader_of_the_old_manifest_goes_on_while_a_new_one_appears() {
    open_in_memory("test://replaced");
    let [first, second] = [0, 1].map(|_| Machine::new("test://replaced", 1 << 30));
    let [old, new] = [1, 2].map(|byte| vec![byte; LARGE]);
    first.publish("tables", &[("a", &old), ("gone", b"gone")]);
    first.push("tables").unwrap();
    second.pull("tables");
    let third = Machine::new("test://replaced", 1 << 30);
    third.pull("tables");
    third.publish("tables", &[("a", &new)]);
    third.push("tables").unwrap();
    assert_eq!(second.read("tables/a"), Some(old), "of the manifest that it has");
    second.pull("tables");
    assert_eq!((second.read("tables/a"), second.read("tables/gone")), (Some(new), None));
}

#[test]
fn of_two_that_publish_at_once_one_fails_unless_they_made_the_same() {
    open_in_memory("test://two");
    let [first, second, third] = [0, 1, 2].map(|_| Machine::new("test://two", 1 << 30));
    for machine in [&first, &second, &third] {
        machine.pull("tables");
    }
    first.publish("tables", &[("a", b"one")]);
    second.publish("tables", &[("a", b"two")]);
    third.publish("tables", &[("a", b"one")]);
    first.push("tables").unwrap();
    let error = second.push("tables").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    assert_eq!(
        error.to_string(),
        "test://two/work/tables was published by another process while this one ran; run again"
    );
    third.push("tables").unwrap();
    second.pull("tables");
    assert_eq!(second.read("tables/a").as_deref(), Some(&b"one"[..]));
}

/// Uncompressed shards of other images have equal sizes. A process dies among the files that it
/// sends, and runs again.
#[test]
fn a_publication_that_was_cut_short_is_sent_by_the_next_run() {
    let bucket = open_in_memory("test://cut");
    let [first, second] = [0, 1].map(|_| Machine::new("test://cut", 1 << 30));
    first.publish("shards", &[("a", b"old a"), ("b", b"old b")]);
    first.push("shards").unwrap();
    first.publish("shards", &[("a", b"new a"), ("b", b"new b")]);
    // The process dies behind the first file.
    let sent = format!("work/shards/a-{:016x}", xxh3_64(b"new a"));
    bucket.put_if(&sent, Bytes::from_static(b"new a"), Condition::Absent).unwrap().unwrap();

    second.pull("shards");
    assert_eq!(second.read("shards/b").as_deref(), Some(&b"old b"[..]), "the old output is whole");
    first.pull("shards");
    assert_eq!(first.read("shards/b").as_deref(), Some(&b"new b"[..]), "what was not sent stays");
    assert_eq!(first.push("shards").unwrap().files, 1);
    second.pull("shards");
    for (name, content) in [("a", b"new a"), ("b", b"new b")] {
        assert_eq!(second.read(&format!("shards/{name}")).as_deref(), Some(&content[..]));
    }
}

#[test]
fn a_file_that_is_not_what_its_manifest_says_is_not_sent() {
    let bucket = open_in_memory("test://altered");
    let machine = Machine::new("test://altered", 1 << 30);
    for content in [vec![1; 5], vec![1; 9 << 20]] {
        machine.publish("tables", &[("a", &content)]);
        let mut altered = content;
        altered[2] = 0;
        machine.write("tables/a", &altered);
        let error = machine.push("tables").unwrap_err().to_string();
        let reason = "tables/a cannot be sent: not the bytes that manifest.json says; run ossify-";
        assert!(error.contains(reason), "{error}");
    }
    assert_eq!(objects(&bucket, "work"), Vec::<String>::new());
}

#[test]
fn what_the_store_has_lost_is_sent_again_by_whoever_has_it_and_read_by_nobody_else() {
    let bucket = open_in_memory("test://lost");
    let [owner, reader] = [0, 1].map(|_| Machine::new("test://lost", 1 << 30));
    let large = vec![7; LARGE];
    let files: [(&str, &[u8]); 3] = [("a", b"a"), ("large", &large), ("kept", b"kept")];
    owner.publish("tables", &files);
    owner.push("tables").unwrap();
    let keys = [&b"a"[..], &large].map(|content| format!("{:016x}", xxh3_64(content)));
    let [a, l] = [format!("work/tables/a-{}", keys[0]), format!("work/tables/large-{}", keys[1])];
    bucket.remove(&a).unwrap();
    // Shorter than it was.
    bucket.put_over(&l, Bytes::from_static(b"cut")).unwrap();

    reader.pull("tables");
    assert_eq!(reader.read("tables/kept").as_deref(), Some(&b"kept"[..]));
    for (inner, key) in [("tables/a", &a), ("tables/large", &l)] {
        let path = reader.path(inner);
        assert_eq!((size(&path), is_lost(&path)), (None, true));
        assert_eq!(is_whole(&path, 1, "").unwrap(), Some(false));
        let error = fetch(&path).unwrap_err().to_string();
        assert!(error.starts_with(&format!("there is no test://lost/{key} of ")), "{error}");
        assert!(error.ends_with("; run ossify-ingest again with --force"), "{error}");
    }
    // Who has the content need not make it again, but has to publish it.
    owner.pull("tables");
    assert!(is_lost(&owner.path("tables/a")) && !is_lost(&owner.path("tables/kept")));
    assert_eq!(owner.read("tables/large"), Some(large.clone()));
    owner.publish("tables", &files);
    assert_eq!(owner.push("tables").unwrap().files, 2);
    assert!(!is_lost(&owner.path("tables/a")));
    reader.pull("tables");
    for (name, content) in files {
        assert_eq!(reader.read(&format!("tables/{name}")).as_deref(), Some(content), "{name}");
    }
    assert_eq!(bucket.read(&l, 9).unwrap().1, b"cut", "no object is overwritten");
}

#[test]
fn a_damaged_object_gets_a_new_name_where_content_alone_is_trusted() {
    let bucket = open_in_memory("test://damaged");
    let [owner, reader] = [0, 1].map(|_| Machine::new("test://damaged", 1 << 30));
    let large = vec![7; LARGE];
    let files: [(&str, &[u8]); 3] = [("a", b"a"), ("large", &large), ("kept", b"kept")];
    owner.publish("tables", &files);
    owner.push("tables").unwrap();
    for (name, content) in &files[..2] {
        let key = format!("work/tables/{name}-{:016x}", xxh3_64(content));
        let damaged = vec![0; content.len()];
        bucket.put_over(&key, Bytes::from(damaged)).unwrap();
    }
    let refused = |machine: &Machine| {
        for inner in ["tables/a", "tables/large"] {
            let error = fetch(&machine.path(inner)).unwrap_err().to_string();
            assert!(error.contains(" is not the content that its manifest lists; run"), "{error}");
        }
    };
    reader.pull("tables");
    refused(&reader);
    owner.publish("tables", &files);
    assert_eq!(owner.push("tables").unwrap().files, 0, "the sizes are right");
    owner.publish("tables", &files);
    let sent = owner.mirror.push(&["tables".to_owned()], Trust::Content).unwrap();
    assert_eq!(sent, Moved { files: 2, bytes: 1 + LARGE as u64 });
    reader.pull("tables");
    for (name, content) in files {
        assert_eq!(reader.read(&format!("tables/{name}")).as_deref(), Some(content), "{name}");
    }
    let named = format!("work/tables/a-{:016x}-2", xxh3_64(b"a"));
    assert!(objects(&bucket, "work").contains(&named));
    owner.publish("tables", &files);
    let sent = owner.mirror.push(&["tables".to_owned()], Trust::Content).unwrap();
    assert_eq!(sent.files, 0);
}

#[test]
fn a_damaged_manifest_is_for_whoever_needs_it_and_is_replaced_unread() {
    let bucket = open_in_memory("test://illegible");
    for content in ["", "{}", "<html>", r#"{"files":[{"path":"a","bytes":-1,"xxh3":""}]}"#] {
        let machine = Machine::new("test://illegible", 1 << 30);
        let content = Bytes::from_static(content.as_bytes());
        bucket.put_over("work/tables/manifest.json", content.clone()).unwrap();
        machine.pull("tables");
        assert_eq!(machine.read("tables/manifest.json"), Some(content.to_vec()));
        assert_eq!(machine.push("tables").unwrap(), Moved::default());
        machine.publish("tables", &[("a", b"a")]);
        machine.push("tables").unwrap();
        let reader = Machine::new("test://illegible", 1 << 30);
        reader.pull("tables");
        assert_eq!(reader.read("tables/a").as_deref(), Some(&b"a"[..]));
    }
}

#[test]
fn a_damaged_list_of_an_unfinished_run_is_reported_and_counts_as_absent() {
    let bucket = open_in_memory("test://illegible-run");
    let [first, second] = [0, 1].map(|_| Machine::new("test://illegible-run", 1 << 30));
    first.write("runs/x/metrics.jsonl", b"1");
    first.push("runs").unwrap();
    bucket.put_over("work/runs/x/unfinished.json", Bytes::from_static(b"[")).unwrap();
    for _ in 0..2 {
        let mut told = Vec::new();
        second.mirror.pull(&["runs".to_owned()], |damage| told.push(damage)).unwrap();
        let told = told.join("\n");
        let url = "test://illegible-run/work/runs/x/unfinished.json: damaged, or no manifest";
        assert!(told.starts_with(url) && told.ends_with("counts as absent"), "{told}");
    }
    second.write("runs/x/metrics.jsonl", b"2");
    second.push("runs").unwrap();
    first.pull("runs");
    assert_eq!(first.read("runs/x/metrics.jsonl").as_deref(), Some(&b"2"[..]));
}

#[test]
fn a_process_has_its_mirror_for_itself() {
    open_in_memory("test://locked");
    let first = Machine::new("test://locked", 1 << 30);
    let url = Path::new("test://locked/work");
    let second = Mirror::open(url, first.cache.path(), 1 << 30).unwrap();
    assert_ne!(first.mirror.root(), second.root());
    let (root, Machine { mirror, cache }) = (first.mirror.root().to_path_buf(), first);
    drop(mirror);
    let third = Mirror::open(url, cache.path(), 1 << 30).unwrap();
    assert_eq!(third.root(), root);
}

/// As versions before left them: objects under the names of the files, overwritten in place.
#[test]
fn a_work_folder_of_a_version_before_is_read_and_never_misread() {
    let bucket = open_in_memory("test://before");
    let put = |inner: &str, content: &[u8]| {
        bucket.put_over(&format!("work/{inner}"), Bytes::copy_from_slice(content)).unwrap();
    };
    let files: [(&str, &[u8]); 2] = [("a.parquet", b"old a"), ("b.parquet", b"old b")];
    for (name, content) in files {
        put(&format!("tables/{name}"), content);
    }
    put("tables/manifest.json", &manifest(&files));
    put("runs/x/checkpoints/last/checkpoint.safetensors", b"numbers");
    put("runs/latest", b"x");
    let machine = Machine::new("test://before", 1 << 30);
    machine.pull("tables");
    machine.pull("runs");
    assert_eq!(machine.read("tables/a.parquet").as_deref(), Some(&b"old a"[..]));
    let checkpoint = "runs/x/checkpoints/last/checkpoint.safetensors";
    assert_eq!(machine.read(checkpoint).as_deref(), Some(&b"numbers"[..]));
    assert_eq!(machine.push("runs").unwrap(), Moved::default(), "nothing came to it");

    // A file of the same size from a publication of that version that was cut short.
    put("tables/b.parquet", b"new b");
    let other = Machine::new("test://before", 1 << 30);
    other.pull("tables");
    assert_eq!(other.read("tables/a.parquet").as_deref(), Some(&b"old a"[..]));
    let error = fetch(&other.path("tables/b.parquet")).unwrap_err().to_string();
    assert!(error.contains("b.parquet is not the content that its manifest lists"), "{error}");

    machine.publish("tables", &[("a.parquet", b"old a"), ("b.parquet", b"newer")]);
    machine.push("tables").unwrap();
    other.pull("tables");
    assert_eq!(other.read("tables/a.parquet").as_deref(), Some(&b"old a"[..]));
    assert_eq!(other.read("tables/b.parquet").as_deref(), Some(&b"newer"[..]));
}

#[test]
fn a_claim_of_a_version_before_is_no_output_and_is_replaced() {
    let bucket = open_in_memory("test://claim");
    let claim = Bytes::from_static(br#"{"schema_version":0,"publishing":"1-2-3"}"#);
    bucket.put_over("work/tables/manifest.json", claim).unwrap();
    bucket.put_over("work/tables/a", Bytes::from_static(b"half")).unwrap();
    let [machine, other] = [0, 1].map(|_| Machine::new("test://claim", 1 << 30));
    machine.pull("tables");
    assert_eq!(machine.read("tables/manifest.json"), None);
    machine.publish("tables", &[("a", b"a")]);
    machine.push("tables").unwrap();
    other.pull("tables");
    assert_eq!(other.read("tables/a").as_deref(), Some(&b"a"[..]));
}

#[test]
fn an_unfinished_run_goes_on_elsewhere_from_files_of_one_time() {
    let bucket = open_in_memory("test://unfinished");
    let [first, second] = [0, 1].map(|_| Machine::new("test://unfinished", 1 << 30));
    let last = "runs/x/checkpoints/last/checkpoint.safetensors";
    let [one, two] = [1, 2].map(|byte| vec![byte; LARGE]);
    first.write(last, &one);
    first.write("runs/x/metrics.jsonl", b"1");
    first.push("runs").unwrap();
    second.pull("runs");
    assert_eq!(second.push("runs").unwrap(), Moved::default(), "nothing was fetched or changed");
    assert_eq!(second.read("runs/x/metrics.jsonl").as_deref(), Some(&b"1"[..]));

    // The first goes on; the second still has the list of before.
    first.write(last, &two);
    first.write("runs/x/metrics.jsonl", b"1 2");
    first.push("runs").unwrap();
    assert_eq!(second.read(last), Some(one));
    second.write("runs/x/metrics.jsonl", b"1 3");
    let error = second.push("runs").unwrap_err();
    assert!(error.to_string().contains("runs/x was continued by another process"), "{error}");
    second.pull("runs");
    assert_eq!(second.read(last), Some(two.clone()));
    assert_eq!(second.read("runs/x/metrics.jsonl").as_deref(), Some(&b"1 2"[..]));

    // It is killed before it sends anything, and what it has is newer than the store's.
    second.write("runs/x/metrics.jsonl", b"1 2 3");
    second.pull("runs");
    assert_eq!(second.read("runs/x/metrics.jsonl").as_deref(), Some(&b"1 2 3"[..]));

    // It ends: what is published counts, and the list is out of date.
    second.publish("runs/x", &[("model", b"m"), ("metrics.jsonl", b"1 2 3")]);
    fs::remove_file(second.path(last)).unwrap();
    second.push("runs").unwrap();
    first.pull("runs");
    assert_eq!(first.read("runs/x/metrics.jsonl").as_deref(), Some(&b"1 2 3"[..]));
    assert!(objects(&bucket, "work/runs/x").contains(&"work/runs/x/unfinished.json".to_owned()));
    let third = Machine::new("test://unfinished", 1 << 30);
    third.pull("runs");
    assert_eq!((third.read("runs/x/model").as_deref(), third.read(last)), (Some(&b"m"[..]), None));
}

#[test]
fn a_file_of_a_part_gets_a_second_name_without_being_fetched() {
    let bucket = open_in_memory("test://parts");
    let [worker, merger] = [0, 1].map(|_| Machine::new("test://parts", 1 << 30));
    let shard = vec![3; LARGE];
    let hash = format!("{:016x}", xxh3_64(&shard));
    let name = format!("train-3-{hash}.arrow");
    worker.publish("parts/resize/1/1", &[(&name, &shard)]);
    worker.push("parts/resize/1").unwrap();
    assert!(objects(&bucket, "work").contains(&format!("work/parts/resize/1/1/{name}")));

    merger.pull("parts/resize/1");
    let part = merger.path(&format!("parts/resize/1/1/{name}"));
    let staged = merger.path("shards/.partial/train-00000.arrow");
    // A shard of an earlier output, of other images and the same size.
    merger.write("shards/train-00000.arrow", &vec![4; LARGE]);
    give_second_name(&part, &staged).unwrap();
    assert_eq!(size(&staged), Some(LARGE as u64));
    rename(&staged, &merger.path("shards/train-00000.arrow")).unwrap();
    assert_eq!(size(&staged), None);
    merger.write("shards/manifest.json", &manifest(&[("train-00000.arrow", &shard)]));
    assert_eq!(merger.push("shards").unwrap(), Moved::default(), "the store copies it");
    assert!(!part.exists());
    let copy = format!("work/shards/train-00000-{hash}.arrow");
    assert_eq!(bucket.read(&copy, u64::MAX).unwrap().1, shard);
    assert_eq!(merger.read("shards/train-00000.arrow"), Some(shard.clone()));

    // Under another number it is the same object.
    let before = objects(&bucket, "work/shards").len();
    merger.publish("shards", &[("train-00001.arrow", &shard)]);
    merger.push("shards").unwrap();
    assert_eq!(objects(&bucket, "work/shards").len(), before);
    let reader = Machine::new("test://parts", 1 << 30);
    reader.pull("shards");
    assert_eq!(reader.read("shards/train-00001.arrow"), Some(shard));
}

#[test]
fn a_renamed_file_keeps_its_note_unless_the_note_is_of_another() {
    open_in_memory("test://renamed");
    let machine = Machine::new("test://renamed", 1 << 30);
    machine.publish("parts/x/1/1", &[("a", b"in the store")]);
    machine.push("parts").unwrap();
    let staged = machine.path("shards/.partial/a");
    give_second_name(&machine.path("parts/x/1/1/a"), &staged).unwrap();
    // The next run makes the file itself.
    machine.write("shards/.partial/a", b"made here");
    rename(&staged, &machine.path("shards/a")).unwrap();
    assert_eq!(machine.read("shards/a").as_deref(), Some(&b"made here"[..]));
    machine.write("shards/manifest.json", &manifest(&[("a", b"made here")]));
    assert_eq!(machine.push("shards").unwrap().files, 1);
}

#[test]
fn workers_that_send_one_part_at_once_leave_one_of_theirs() {
    open_in_memory("test://workers");
    let machines: Vec<Machine> = (0..4).map(|_| Machine::new("test://workers", 1 << 30)).collect();
    std::thread::scope(|scope| {
        for (number, machine) in machines.iter().enumerate() {
            scope.spawn(move || {
                for round in 0..5 {
                    let content = format!("{}", (number + round) % 2);
                    let name = format!("part-{content}");
                    machine.publish("parts/x/1/1", &[(&name, content.as_bytes())]);
                    match machine.push("parts") {
                        Err(e) if e.kind() != io::ErrorKind::ResourceBusy => panic!("{e}"),
                        _ => {}
                    }
                }
            });
        }
    });
    let reader = Machine::new("test://workers", 1 << 30);
    reader.pull("parts");
    let manifest: serde_json::Value =
        serde_json::from_slice(&reader.read("parts/x/1/1/manifest.json").unwrap()).unwrap();
    let name = manifest["files"][0]["path"].as_str().unwrap();
    let content = reader.read(&format!("parts/x/1/1/{name}")).unwrap();
    assert_eq!(name, format!("part-{}", String::from_utf8(content).unwrap()));
}

#[test]
fn fetched_files_keep_to_their_room() {
    open_in_memory("test://room");
    let [first, second] = [1 << 30, 3 * LARGE as u64].map(|room| Machine::new("test://room", room));
    let names: Vec<String> = (0..8).map(|number| format!("{number}.arrow")).collect();
    let contents: Vec<Vec<u8>> = (0..8).map(|number| vec![number; LARGE]).collect();
    let files: Vec<(&str, &[u8])> = names
        .iter()
        .zip(&contents)
        .map(|(name, content)| (name.as_str(), content.as_slice()))
        .collect();
    first.publish("shards", &files);
    first.push("shards").unwrap();
    second.pull("shards");
    let here =
        || names.iter().filter(|name| second.path(&format!("shards/{name}")).exists()).count();
    for round in 0..2 {
        for (name, content) in &files {
            let read = second.read(&format!("shards/{name}"));
            assert_eq!(read.as_deref(), Some(*content), "{round}");
            assert!(here() <= 3);
        }
    }
    let ahead =
        ["shards/0.arrow", "shards/1.arrow", "shards/2.arrow"].map(|inner| second.path(inner));
    fetch_ahead(ahead.to_vec());
    for _ in 0..500 {
        if ahead[0].exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(ahead[0].exists() && !ahead[2].exists(), "half of the room is for what comes next");
    assert_eq!(room_for(&ahead[0]), Some(3 * LARGE as u64));
}

#[test]
fn paths_outside_of_mirrors_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    fetch(&path).unwrap();
    assert_eq!((size(&path), room_for(&path)), (None, None));
    fs::write(&path, b"a").unwrap();
    assert_eq!(size(&path), Some(1));
    rename(&path, &folder.path().join("b")).unwrap();
    assert_eq!(size(&folder.path().join("b")), Some(1));
}
