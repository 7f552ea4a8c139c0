//! Shows that readers see whole outputs, whatever the order of the requests of the processes that
//! use one work folder, and behind whichever of its requests a process dies.

mod explore;
mod process;
mod store;

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use self::explore::{Checks, Explored, Process, World, explore};
use self::process::{Machine, Rules, WORK};
use self::store::{Store, Stored};
use crate::address::Address;
use crate::mirror::folder::Mirror;
use crate::mirror::index::stored_name;
use crate::mirror::prune::{Garbage, MIN_PRUNE_AGE};
use crate::mirror::publication::{MAX_REUSE_AGE, Trust};

const NOW_S: i64 = 1_800_000_000;
const HOUR_S: i64 = 3600;
const RULES: Rules = Rules { request_bytes: 1 << 20, is_commit_unconditional: false };
/// Files are sent and fetched in three pieces.
const IN_PARTS: Rules = Rules { request_bytes: 2048, ..RULES };

/// The content of a file of an output; in three pieces where these are small.
fn content(name: &str, made: &str) -> String {
    format!("{name} {made} ").repeat(4500 / (name.len() + made.len() + 2))
}

fn xxh3(content: &str) -> String {
    format!("{:016x}", xxh3_64(content.as_bytes()))
}

/// Publishes in the mirror, as a stage does: two files that each output has anew, and one that is
/// the same in all.
fn publish(mirror: &Mirror, made: &str) {
    let folder = mirror.root().join("tables");
    fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, content: &str| {
        let beside = folder.join(format!("{name}.new"));
        fs::write(&beside, content).unwrap();
        fs::rename(&beside, folder.join(name)).unwrap();
    };
    let entry = |name: &str, content: &str| {
        write(name, content);
        serde_json::json!({ "path": name, "bytes": content.len(), "xxh3": xxh3(content) })
    };
    let files =
        [entry("a", &content("a", made)), entry("b", &content("b", made)), entry("c", "same")];
    let manifest = serde_json::json!({ "schema_version": 2, "made": made, "files": files });
    write("manifest.json", &manifest.to_string());
}

fn tables() -> [String; 1] {
    ["tables".to_owned()]
}

/// Which output a reader sees.
///
/// # Errors
/// Where it is not the whole of one.
fn seen(mirror: &Mirror) -> Result<String, String> {
    mirror.pull(&tables(), |_| ()).map_err(|e| e.to_string())?;
    let folder = mirror.root().join("tables");
    let read = |name: &str| {
        mirror.cache.fetch(&format!("tables/{name}")).map_err(|e| e.to_string())?;
        fs::read_to_string(folder.join(name)).map_err(|e| format!("cannot read {name}: {e}"))
    };
    let manifest: serde_json::Value =
        serde_json::from_str(&read("manifest.json")?).map_err(|e| e.to_string())?;
    let made = manifest["made"].as_str().unwrap_or_default().to_owned();
    for (name, wanted) in
        [("a", content("a", &made)), ("b", content("b", &made)), ("c", "same".to_owned())]
    {
        if read(name)? != wanted {
            return Err(format!("{name} is not that of the output {made}"));
        }
    }
    Ok(made)
}

/// How it went.
fn word(result: io::Result<()>) -> String {
    match result {
        Ok(()) => "done".to_owned(),
        Err(e) if e.kind() == io::ErrorKind::ResourceBusy => "busy".to_owned(),
        Err(e) if is_death(&e) => "dead".to_owned(),
        Err(e) => format!("failed: {e}"),
    }
}

fn is_death(error: &io::Error) -> bool {
    error.to_string().contains("the process is dead")
}

fn push(mirror: &Mirror) -> io::Result<()> {
    mirror.push(&tables(), Trust::Size).map(drop)
}

/// Publishes, beginning with what all begin with.
fn publisher(name: &'static str, made: &'static str, max_deaths: u32) -> Process<'static> {
    let run = move |machine: &Machine| {
        let mirror = machine.mirror();
        mirror.pull(&tables(), |_| ()).unwrap();
        publish(&mirror, made);
        machine.begin();
        word(push(&mirror))
    };
    Process { name, max_deaths, run: Box::new(run) }
}

/// The same, and where it dies, another process on the same machine goes on.
fn restarted_publisher(
    name: &'static str,
    made: &'static str,
    max_deaths: u32,
) -> Process<'static> {
    let run = move |machine: &Machine| {
        let first = machine.mirror();
        first.pull(&tables(), |_| ()).unwrap();
        publish(&first, made);
        machine.begin();
        let mut result = push(&first);
        drop(first);
        for _ in 0..max_deaths {
            if !result.as_ref().is_err_and(is_death) {
                break;
            }
            let again = machine.mirror();
            result = again.pull(&tables(), |_| ()).and_then(|_| push(&again));
        }
        word(result)
    };
    Process { name, max_deaths, run: Box::new(run) }
}

/// Brings its mirror up to date with the manifest that it finds, and reads all files.
fn reader() -> Process<'static> {
    let run = |machine: &Machine| {
        let mirror = machine.mirror();
        machine.begin();
        match seen(&mirror) {
            Ok(made) => made,
            Err(fault) => format!("failed: {fault}"),
        }
    };
    Process { name: "reader", max_deaths: 0, run: Box::new(run) }
}

fn collector(older_than: Duration) -> Process<'static> {
    let run = move |machine: &Machine| {
        machine.begin();
        let (bucket, address) = (machine.bucket(), Address::of(Path::new(WORK)).unwrap());
        // It begins at any time.
        let garbage = bucket
            .find("beginning")
            .and_then(|_| Garbage::find_in(bucket, &address, &["tables"], older_than, 1));
        word(garbage.and_then(|garbage| garbage.remove()).map(drop))
    };
    Process { name: "collector", max_deaths: 1, run: Box::new(run) }
}

/// A store with an output, written so long ago.
fn store_with(made: &str, age_s: i64, rules: Rules) -> Store {
    let machine = Machine::alone(Store::default(), NOW_S - age_s, rules);
    let mirror = machine.mirror();
    publish(&mirror, made);
    push(&mirror).unwrap();
    machine.store()
}

/// The output that whoever comes now sees.
fn seen_in(store: &Store) -> Result<String, String> {
    seen(&Machine::alone(store.clone(), NOW_S, RULES).mirror())
        .map_err(|fault| format!("whoever comes now: {fault}"))
}

fn world(rules: Rules) -> World {
    World { store: store_with("old", 240 * HOUR_S, rules), now_s: NOW_S, pause_s: 0, rules }
}

fn say(what: &str, explored: &Explored) {
    let Explored { histories, states, stores, runs } = explored;
    println!("{what}: {histories} histories, {states} states, {stores} stores, {runs} runs");
}

/// What two that publish may end with, and what is seen then.
fn judge(one: &str, two: &str, last: &str) -> Result<(), String> {
    match (one, two) {
        ("done", "done") => Err("both say that they published".to_owned()),
        ("done", _) if last != "one" => Err(format!("one published, there is {last}")),
        (_, "done") if last != "two" => Err(format!("two published, there is {last}")),
        ("busy", "busy") => Err("each heard that the other published".to_owned()),
        ("busy", _) if last != "two" => Err(format!("one heard of another, there is {last}")),
        (_, "busy") if last != "one" => Err(format!("two heard of another, there is {last}")),
        (one, two) => match [one, two].iter().find(|outcome| outcome.starts_with("failed")) {
            Some(failed) => Err(format!("a publisher {failed}")),
            None => Ok(()),
        },
    }
}

/// A reader sees what was there before or what is there at the end: one publication is made.
fn judge_reader(read: &str, last: &str) -> Result<(), String> {
    if read == "old" || read == last {
        return Ok(());
    }
    Err(format!("the reader saw {read}, there is {last}"))
}

/// Two that publish from the same beginning, both of which may die, and a reader.
fn two_publishers(rules: Rules) -> Result<Explored, String> {
    let processes = [publisher("one", "one", 1), publisher("two", "two", 1), reader()];
    let end = |outcomes: &[&str], last: &str| {
        judge(outcomes[0], outcomes[1], last)?;
        judge_reader(outcomes[2], last)
    };
    explore(&world(rules), &processes, &Checks { store: &seen_in, end: &end })
}

#[test]
fn of_two_publishers_one_commits_and_a_reader_sees_the_old_whole_or_the_new_whole() {
    let explored = two_publishers(RULES).unwrap();
    say("two publishers and a reader", &explored);
    assert!(explored.histories > 1_000_000 && explored.states > 1_000, "{explored:?}");
    let explored = two_publishers(IN_PARTS).unwrap();
    say("the same, with files in parts", &explored);
    assert!(explored.histories > 1_000_000 && explored.states > 1_000, "{explored:?}");
}

#[test]
fn the_exploration_finds_an_unconditional_commit() {
    let rules = Rules { is_commit_unconditional: true, ..RULES };
    let fault = two_publishers(rules).unwrap_err();
    println!("{fault}");
    assert!(fault.contains("both say that they published"), "{fault}");
}

/// Two that publish, are run again where they die, and may both have made the same.
#[test]
fn publishers_that_die_and_run_again_publish_and_a_reader_sees_whole_outputs() {
    for (rules, second) in [(RULES, "two"), (RULES, "one"), (IN_PARTS, "one")] {
        let processes =
            [restarted_publisher("one", "one", 1), restarted_publisher("two", second, 1), reader()];
        let end = |outcomes: &[&str], last: &str| {
            if !["one", second].contains(&last) {
                return Err(format!("nothing was published, there is {last}"));
            }
            judge_reader(outcomes[2], last)?;
            let is_heard = |outcome: &str| match outcome {
                "done" => true,
                // Where both made the same, nobody is in the way of the other.
                "busy" => second != "one",
                _ => false,
            };
            if outcomes[..2].iter().all(|outcome| is_heard(outcome)) {
                return Ok(());
            }
            Err(format!("{outcomes:?}"))
        };
        let checks = Checks { store: &seen_in, end: &end };
        let explored = explore(&world(rules), &processes, &checks).unwrap();
        say("two publishers that run again, and a reader", &explored);
        assert!(explored.histories > 1_000_000 && explored.states > 1_000, "{explored:?}");
    }
}

/// What a publisher left that died so long ago: one of its objects.
fn leave(store: &mut Store, name: &str, made: &str, age_s: i64) {
    let content = content(name, made);
    let key = format!("work/tables/{}", stored_name(name, &xxh3(&content), 1));
    let noted_xxh3 = Some(xxh3(&content));
    let stored = Stored { content: Bytes::from(content), noted_xxh3, modified_s: NOW_S - age_s };
    store.0.insert(key, stored);
}

/// One that publishes, and dies and runs again; a reader; and a collector, while what an earlier
/// process left is of this age, and all stand still for some hours at any moment.
fn with_collector(left_s: i64, older_than: Duration) -> Result<Explored, String> {
    let mut world = world(RULES);
    leave(&mut world.store, "a", "one", left_s);
    world.pause_s = (MIN_PRUNE_AGE - MAX_REUSE_AGE).as_secs() as i64 - HOUR_S;
    let processes = [restarted_publisher("one", "one", 1), reader(), collector(older_than)];
    let end = |outcomes: &[&str], last: &str| {
        judge_reader(outcomes[1], last)?;
        match outcomes {
            ["done", _, "done" | "dead"] if last == "one" => Ok(()),
            _ => Err(format!("{outcomes:?}, there is {last}")),
        }
    };
    explore(&world, &processes, &Checks { store: &seen_in, end: &end })
}

#[test]
fn a_collector_takes_nothing_from_publishers_and_from_readers_of_an_old_manifest() {
    let reuse_s = MAX_REUSE_AGE.as_secs() as i64;
    for left_s in [0, reuse_s - 1, reuse_s, 24 * HOUR_S, 240 * HOUR_S] {
        let explored = with_collector(left_s, MIN_PRUNE_AGE).unwrap();
        say(&format!("a collector, and an object left {} h ago", left_s / HOUR_S), &explored);
        assert!(explored.histories > 1_000_000 && explored.states > 1_000, "{explored:?}");
    }
}

#[test]
fn the_exploration_finds_a_collector_that_heeds_no_age() {
    let fault = with_collector(0, Duration::ZERO).unwrap_err();
    println!("{fault}");
    assert!(fault.contains("there is no test://model/work/tables/"), "{fault}");
}

/// Two that publish one after the other or at once, a reader and a collector.
#[test]
fn a_collector_beside_two_publishers_leaves_a_whole_output() {
    let mut world = world(RULES);
    leave(&mut world.store, "a", "one", HOUR_S);
    leave(&mut world.store, "a", "two", 30 * HOUR_S);
    let processes = [
        publisher("one", "one", 1),
        publisher("two", "two", 1),
        reader(),
        collector(MIN_PRUNE_AGE),
    ];
    let end = |outcomes: &[&str], last: &str| {
        judge(outcomes[0], outcomes[1], last)?;
        judge_reader(outcomes[2], last)?;
        match outcomes[3] {
            "done" | "dead" => Ok(()),
            failed => Err(format!("the collector {failed}")),
        }
    };
    let checks = Checks { store: &seen_in, end: &end };
    let explored = explore(&world, &processes, &checks).unwrap();
    say("two publishers, a reader and a collector", &explored);
    assert!(explored.histories > 1_000_000 && explored.states > 10_000, "{explored:?}");
}
