//! Explores every order of the requests of processes that use one work folder at a time, and a
//! death behind each request. The mirrors are the real ones; the store is in memory, and holds
//! each request until the explorer says whose turn it is.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::oneshot;
use xxhash_rust::xxh3::xxh3_64;

use crate::address::Address;
use crate::bucket::Bucket;
use crate::mirror::folder::Mirror;
use crate::mirror::parallel::lock;

/// What an actor hears when its request is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The request is done and answered.
    Answered,
    /// The request is done, and the process dies before it hears of it.
    Fatal,
}

/// What the explorer hears of an actor.
enum Event {
    Request(oneshot::Sender<Turn>),
    Ended,
}

/// The store as one actor sees it.
#[derive(Clone)]
struct Gate {
    store: Arc<InMemory>,
    actor: usize,
    events: Sender<(usize, Event)>,
    /// Whether requests wait for their turn.
    is_closed: Arc<AtomicBool>,
    is_dead: Arc<AtomicBool>,
    /// A fault made by hand: puts of manifests have no condition.
    is_careless: bool,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gate({})", self.actor)
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gate({})", self.actor)
    }
}

fn dead() -> Error {
    Error::NotSupported { source: "the process is dead".into() }
}

impl Gate {
    /// Does a request when it is its turn.
    async fn pass<T>(self, request: impl Future<Output = Result<T>>) -> Result<T> {
        if self.is_dead.load(Ordering::SeqCst) {
            return Err(dead());
        }
        if !self.is_closed.load(Ordering::SeqCst) {
            return request.await;
        }
        let (sender, turn) = oneshot::channel();
        let _ = self.events.send((self.actor, Event::Request(sender)));
        let turn = turn.await.map_err(|_| dead())?;
        let answer = request.await;
        if turn == Turn::Fatal {
            self.is_dead.store(true, Ordering::SeqCst);
            return Err(dead());
        }
        answer
    }
}

#[async_trait::async_trait]
impl ObjectStore for Gate {
    async fn put_opts(
        &self,
        location: &Key,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        if self.is_careless && location.filename() == Some("manifest.json") {
            options.mode = PutMode::Overwrite;
        }
        self.clone().pass(self.store.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Key,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Key, options: GetOptions) -> Result<GetResult> {
        self.clone().pass(self.store.get_opts(location, options)).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Key>>,
    ) -> BoxStream<'static, Result<Key>> {
        let (gate, store) = (self.clone(), self.store.clone());
        let open = async move { gate.pass(async { Ok(()) }).await };
        open.map(move |passed| match passed {
            Ok(()) => store.delete_stream(locations),
            Err(e) => futures_util::stream::iter([Err(e)]).boxed(),
        })
        .into_stream()
        .flatten()
        .boxed()
    }

    fn list(&self, prefix: Option<&Key>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (gate, store, prefix) = (self.clone(), self.store.clone(), prefix.cloned());
        // A page is the state of one moment.
        let page = async move {
            gate.pass(async move { Ok(store.list(prefix.as_ref()).collect::<Vec<_>>().await) })
                .await
        };
        page.map(|page| futures_util::stream::iter(page.unwrap_or_else(|e| vec![Err(e)])))
            .into_stream()
            .flatten()
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Key>) -> Result<ListResult> {
        self.clone().pass(self.store.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<()> {
        self.clone().pass(self.store.copy_opts(from, to, options)).await
    }
}

/// One history: the processes, from the same beginning each time.
struct World {
    store: Arc<InMemory>,
    folder: tempfile::TempDir,
    events: Sender<(usize, Event)>,
    received: Mutex<Receiver<(usize, Event)>>,
    is_closed: Arc<AtomicBool>,
    is_careless: bool,
}

/// A process: its number, and what it does.
type Actor<'a> = (usize, Box<dyn FnOnce() -> io::Result<()> + Send + 'a>);

impl World {
    fn new(is_careless: bool) -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            tempfile::tempdir_in(memory).unwrap()
        } else {
            tempfile::tempdir().unwrap()
        };
        let (events, received) = channel();
        World {
            store: Arc::new(InMemory::new()),
            folder,
            events,
            received: Mutex::new(received),
            is_closed: Arc::default(),
            is_careless,
        }
    }

    /// The mirror of an actor's machine, in a process of its own.
    fn mirror(&self, actor: usize) -> Mirror {
        let gate = Gate {
            store: self.store.clone(),
            actor,
            events: self.events.clone(),
            is_closed: self.is_closed.clone(),
            is_dead: Arc::default(),
            is_careless: self.is_careless,
        };
        let bucket = Arc::new(Bucket::new("test://model", Arc::new(gate)));
        let address = Address::of(Path::new("test://model/work")).unwrap();
        let cache = self.folder.path().join(actor.to_string());
        Mirror::in_bucket(bucket, &address, &cache, 1 << 30, 1).unwrap()
    }

    /// Lets the actors run in the order that `choices` names, then in any; gives the number of
    /// choices that there were at each step. Those below `mortal` may die.
    fn run(&self, actors: Vec<Actor>, choices: &[usize], mortal: usize) -> Vec<usize> {
        self.is_closed.store(true, Ordering::SeqCst);
        let mut options = Vec::new();
        std::thread::scope(|scope| {
            let mut running = actors.len();
            for (actor, work) in actors {
                let events = self.events.clone();
                scope.spawn(move || {
                    let _ = work();
                    let _ = events.send((actor, Event::Ended));
                });
            }
            let mut waiting: Vec<(usize, oneshot::Sender<Turn>)> = Vec::new();
            let mut deaths = Vec::new();
            loop {
                while running > waiting.len() {
                    match lock(&self.received).recv().unwrap() {
                        (actor, Event::Request(turn)) => waiting.push((actor, turn)),
                        (_, Event::Ended) => running -= 1,
                    }
                }
                if waiting.is_empty() {
                    break;
                }
                waiting.sort_by_key(|(actor, _)| *actor);
                let may_die = |actor: usize| actor < mortal && !deaths.contains(&actor);
                let turns: Vec<(usize, Turn)> = waiting
                    .iter()
                    .enumerate()
                    .flat_map(|(place, (actor, _))| {
                        let fatal = may_die(*actor).then_some((place, Turn::Fatal));
                        [(place, Turn::Answered)].into_iter().chain(fatal)
                    })
                    .collect();
                let (number, turn) = turns[choices.get(options.len()).copied().unwrap_or(0)];
                options.push(turns.len());
                let (actor, answer) = waiting.remove(number);
                if turn == Turn::Fatal {
                    deaths.push(actor);
                }
                answer.send(turn).unwrap();
            }
        });
        self.is_closed.store(false, Ordering::SeqCst);
        options
    }
}

/// Calls `history` with every sequence of choices, and gives their number; ends at the first that
/// finds a fault.
fn explore(
    mut history: impl FnMut(&[usize]) -> (Vec<usize>, std::result::Result<(), String>),
) -> std::result::Result<usize, String> {
    let (mut choices, mut histories) = (Vec::new(), 0);
    loop {
        let (options, verdict) = history(&choices);
        histories += 1;
        verdict.map_err(|fault| format!("after {histories} histories, {choices:?}: {fault}"))?;
        choices.resize(options.len(), 0);
        while let Some(last) = choices.pop() {
            if last + 1 < options[choices.len()] {
                choices.push(last + 1);
                break;
            }
        }
        if choices.is_empty() {
            return Ok(histories);
        }
    }
}

/// Publishes two files in the mirror, as a stage does.
fn publish(mirror: &Mirror, content: &str) {
    let folder = mirror.root().join("tables");
    fs::create_dir_all(&folder).unwrap();
    let entry = |name: &str| {
        let beside = folder.join(format!("{name}.new"));
        fs::write(&beside, format!("{name} {content}")).unwrap();
        fs::rename(&beside, folder.join(name)).unwrap();
        let content = format!("{name} {content}");
        let xxh3 = format!("{:016x}", xxh3_64(content.as_bytes()));
        serde_json::json!({ "path": name, "bytes": content.len(), "xxh3": xxh3 })
    };
    // "b" is the same in all outputs, and reused.
    let files = [entry("a"), {
        fs::write(folder.join("b"), "b").unwrap();
        serde_json::json!({ "path": "b", "bytes": 1, "xxh3": format!("{:016x}", xxh3_64(b"b")) })
    }];
    let manifest = serde_json::json!({ "schema_version": 2, "made": content, "files": files });
    let beside = folder.join("manifest.new");
    fs::write(&beside, manifest.to_string()).unwrap();
    fs::rename(beside, folder.join("manifest.json")).unwrap();
}

/// Which output a reader sees.
///
/// # Errors
/// Where it is not the whole of one.
fn seen(mirror: &Mirror) -> std::result::Result<String, String> {
    mirror.pull(&["tables".to_owned()]).map_err(|e| e.to_string())?;
    let folder = mirror.root().join("tables");
    let read = |name: &str| fs::read_to_string(folder.join(name)).map_err(|e| e.to_string());
    let manifest: serde_json::Value =
        serde_json::from_str(&read("manifest.json")?).map_err(|e| e.to_string())?;
    let made = manifest["made"].as_str().unwrap_or_default().to_owned();
    match (read("a")?, read("b")?) {
        (a, b) if a == format!("a {made}") && b == "b" => Ok(made),
        (a, b) => Err(format!("the manifest says {made}, the files {a:?} and {b:?}")),
    }
}

fn push(mirror: &Mirror) -> io::Result<()> {
    mirror.push(&["tables".to_owned()]).map(drop)
}

const READER: usize = 2;

/// Two that publish from the same beginning, one of which may die, and a reader.
fn two_publishers(is_careless: bool) -> std::result::Result<usize, String> {
    explore(|choices| {
        let world = World::new(is_careless);
        let first = world.mirror(3);
        publish(&first, "old");
        push(&first).unwrap();
        let publishers = [0, 1].map(|actor| {
            let mirror = world.mirror(actor);
            mirror.pull(&["tables".to_owned()]).unwrap();
            publish(&mirror, ["one", "two"][actor]);
            mirror
        });
        let reader = world.mirror(READER);
        let outcomes = [Mutex::new(None), Mutex::new(None)];
        let read = Mutex::new(None);
        let mut actors: Vec<Actor> = Vec::new();
        for (actor, mirror) in publishers.iter().enumerate() {
            let outcome = &outcomes[actor];
            actors.push((
                actor,
                Box::new(move || {
                    *lock(outcome) = Some(push(mirror).map_err(|e| e.kind()));
                    Ok(())
                }),
            ));
        }
        actors.push((
            READER,
            Box::new(|| {
                *lock(&read) = Some(seen(&reader));
                Ok(())
            }),
        ));
        // One of them is enough to die: they are alike.
        let options = world.run(actors, choices, 1);
        let verdict = || {
            let read = lock(&read).take().unwrap().map_err(|e| format!("the reader: {e}"))?;
            let last = seen(&world.mirror(4))?;
            let [one, two] = [&outcomes[0], &outcomes[1]].map(|outcome| lock(outcome).unwrap());
            match (one, two) {
                (Ok(()), Ok(())) => Err("both say that they published".to_owned()),
                (Ok(()), _) if last != "one" => Err(format!("one published, there is {last}")),
                (_, Ok(())) if last != "two" => Err(format!("two published, there is {last}")),
                (Err(io::ErrorKind::ResourceBusy), Err(io::ErrorKind::ResourceBusy)) => {
                    Err("each was told that the other published".to_owned())
                }
                (Err(io::ErrorKind::ResourceBusy), _) if last != "two" => {
                    Err(format!("one was told of another, there is {last}"))
                }
                (_, Err(io::ErrorKind::ResourceBusy)) if last != "one" => {
                    Err(format!("two was told of another, there is {last}"))
                }
                _ if read != "old" && read != last => Err(format!("read {read}, then {last}")),
                _ => Ok(()),
            }
        };
        (options, verdict())
    })
}

#[test]
fn of_two_publishers_one_commits_and_a_reader_sees_the_old_whole_or_the_new_whole() {
    let histories = two_publishers(false).unwrap();
    println!("{histories} histories of two publishers and a reader");
    assert!(histories > 1_000, "{histories}");
}

#[test]
fn the_exploration_finds_an_unconditional_commit() {
    let fault = two_publishers(true).unwrap_err();
    println!("{fault}");
    assert!(fault.contains("both say that they published"), "{fault}");
}

/// One that publishes, dies behind some request, and is run again on the same machine, where
/// another output is to be published by then; and a reader.
#[test]
fn a_publisher_that_dies_and_runs_again_publishes_and_a_reader_sees_a_whole_output() {
    let result = explore(|choices| {
        let world = World::new(false);
        let first = world.mirror(3);
        publish(&first, "old");
        push(&first).unwrap();
        drop(first);
        let publisher = world.mirror(0);
        publisher.pull(&["tables".to_owned()]).unwrap();
        publish(&publisher, "new");
        let (outcome, read, reader) = (Mutex::new(None), Mutex::new(None), world.mirror(READER));
        let actors: Vec<Actor> = vec![
            (
                0,
                Box::new(|| {
                    let pushed = push(&publisher);
                    drop(publisher);
                    let result = match pushed {
                        Ok(()) => Ok(()),
                        Err(_) => {
                            let again = world.mirror(0);
                            again.pull(&["tables".to_owned()]).and_then(|_| push(&again))
                        }
                    };
                    *lock(&outcome) = Some(result.map_err(|e| e.to_string()));
                    Ok(())
                }),
            ),
            (
                READER,
                Box::new(|| {
                    *lock(&read) = Some(seen(&reader));
                    Ok(())
                }),
            ),
        ];
        let options = world.run(actors, choices, 1);
        let verdict = || {
            lock(&outcome).take().unwrap().map_err(|e| format!("the publisher: {e}"))?;
            let read = lock(&read).take().unwrap().map_err(|e| format!("the reader: {e}"))?;
            let last = seen(&world.mirror(4))?;
            if last != "new" || !["old", "new"].contains(&read.as_str()) {
                return Err(format!("read {read}, then {last}"));
            }
            Ok(())
        };
        (options, verdict())
    });
    let histories = result.unwrap();
    println!("{histories} histories of a publisher that dies and a reader");
    assert!(histories > 100, "{histories}");
}
