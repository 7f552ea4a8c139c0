//! A process that uses a work folder, known by its answers to answers: the real code runs until it
//! asks for what was not answered yet.

use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _};
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload,
    ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result, UploadPart,
};

use super::store::{Answer, Listed, Precondition, Request, Store};
use crate::address::Address;
use crate::bucket::Bucket;
use crate::mirror::folder::Mirror;
use crate::mirror::parallel::lock;

const BUCKET: &str = "test://model";
pub(super) const WORK: &str = "test://model/work";
const XXH3: Attribute = Attribute::Metadata(std::borrow::Cow::Borrowed("xxh3"));

/// A request that was answered: with what, and when.
pub(super) type Exchange = (Request, Answer, i64);

/// What a process does once it has had these answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Asks(Request),
    Ends(String),
}

/// What differs between worlds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Content that one request asks for or sends, at most.
    pub(super) request_bytes: u64,
    /// A fault made by hand: puts of manifests have no precondition.
    pub(super) is_commit_unconditional: bool,
}

/// A machine that a process runs on. Its first requests, up to [`Machine::begin`], are answered by
/// a store of its own.
pub(super) struct Machine {
    folder: tempfile::TempDir,
    script: Arc<Mutex<Script>>,
    rules: Rules,
}

struct Script {
    preparation: Option<Store>,
    now_s: i64,
    answered: VecDeque<Exchange>,
    next: Option<Request>,
    /// Whether the process looked at its clock after the last answer.
    is_timed: bool,
    surprise: Option<String>,
}

impl Machine {
    /// A machine that sees this store, and no others that use it.
    pub(super) fn alone(store: Store, now_s: i64, rules: Rules) -> Self {
        // Nothing here must outlive the process, and memory has no seeks.
        let memory = Path::new("/dev/shm");
        let folder =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let script = Script {
            preparation: Some(store),
            now_s,
            answered: VecDeque::new(),
            next: None,
            is_timed: false,
            surprise: None,
        };
        Machine { folder: folder.unwrap(), script: Arc::new(Mutex::new(script)), rules }
    }

    /// From here on, requests go to the store that all share.
    pub(super) fn begin(&self) {
        lock(&self.script).preparation = None;
    }

    /// What the store is after the requests so far.
    pub(super) fn store(&self) -> Store {
        lock(&self.script).preparation.clone().unwrap()
    }

    /// The bucket, in a process of its own.
    pub(super) fn bucket(&self) -> Arc<Bucket> {
        let (script, clock) = (self.script.clone(), self.script.clone());
        let gate = Gate { script, rules: self.rules, is_dead: Arc::default() };
        let clock = Arc::new(move || {
            let mut script = lock(&clock);
            // What it does once the replay has ended does not count.
            script.is_timed |= script.next.is_none();
            script.now_s
        });
        Arc::new(Bucket::with_clock(BUCKET, Arc::new(gate), self.rules.request_bytes, clock))
    }

    /// The mirror of the work folder, in a process of its own.
    pub(super) fn mirror(&self) -> Mirror {
        let address = Address::of(Path::new(WORK)).unwrap();
        Mirror::in_bucket(self.bucket(), &address, self.folder.path(), 1 << 30, 1).unwrap()
    }
}

/// Runs a process from its beginning, with these answers, as far as they go. Says what it does
/// then, and whether it looked at its clock after the last answer.
///
/// # Errors
/// Where it asks otherwise than before.
pub(super) fn replay(
    process: &dyn Fn(&Machine) -> String,
    machine: &Machine,
    answered: Vec<Exchange>,
) -> std::result::Result<(Step, bool), String> {
    lock(&machine.script).answered = answered.into();
    let outcome = process(machine);
    let mut script = lock(&machine.script);
    match (script.surprise.take(), script.next.take()) {
        (Some(surprise), _) => Err(surprise),
        (None, Some(request)) => Ok((Step::Asks(request), script.is_timed)),
        (None, None) if !script.answered.is_empty() => {
            Err("a process ended earlier than before".to_owned())
        }
        (None, None) => Ok((Step::Ends(outcome), script.is_timed)),
    }
}

/// The store as one process sees it.
#[derive(Clone)]
struct Gate {
    script: Arc<Mutex<Script>>,
    rules: Rules,
    is_dead: Arc<AtomicBool>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

fn dead() -> Error {
    Error::NotSupported { source: "the process is dead".into() }
}

fn refused(key: &Key) -> Error {
    Error::Precondition { path: key.to_string(), source: "it is not so".into() }
}

fn absent(key: &Key) -> Error {
    Error::NotFound { path: key.to_string(), source: "there is none".into() }
}

impl Gate {
    fn ask(&self, request: Request) -> Result<Answer> {
        if self.is_dead.load(Ordering::SeqCst) {
            return Err(dead());
        }
        let mut script = lock(&self.script);
        let now_s = script.now_s;
        if let Some(store) = &mut script.preparation {
            return Ok(store.answer(&request, now_s));
        }
        if script.next.is_some() {
            return Err(dead());
        }
        let Some((before, answer, now_s)) = script.answered.pop_front() else {
            script.next = Some(request);
            return Err(dead());
        };
        if before != request {
            script.surprise = Some(format!("{} and not {}", request.name(), before.name()));
        }
        (script.now_s, script.is_timed) = (now_s, false);
        if answer == Answer::Dead {
            self.is_dead.store(true, Ordering::SeqCst);
            return Err(dead());
        }
        Ok(answer)
    }
}

fn xxh3_of(attributes: &Attributes) -> Option<String> {
    attributes.get(&XXH3).map(|value| value.as_ref().to_owned())
}

fn meta(key: &Key, listed: Listed) -> ObjectMeta {
    ObjectMeta {
        location: key.clone(),
        last_modified: DateTime::<Utc>::from_timestamp(listed.modified_s, 0).unwrap(),
        size: listed.bytes,
        e_tag: Some(listed.tag),
        version: None,
    }
}

#[async_trait::async_trait]
impl ObjectStore for Gate {
    async fn put_opts(
        &self,
        key: &Key,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let content = Bytes::from(payload);
        let only_if = match options.mode {
            _ if self.rules.is_commit_unconditional && key.filename() == Some("manifest.json") => {
                Precondition::None
            }
            PutMode::Overwrite => Precondition::None,
            PutMode::Create => Precondition::Absent,
            PutMode::Update(version) => Precondition::Tag(version.e_tag.unwrap_or_default()),
        };
        let must_be_new = only_if == Precondition::Absent;
        let e_tag = Some(format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&content)));
        let noted_xxh3 = xxh3_of(&options.attributes);
        match self.ask(Request::Put { key: key.to_string(), content, noted_xxh3, only_if })? {
            Answer::Refused if must_be_new => {
                Err(Error::AlreadyExists { path: key.to_string(), source: "it is there".into() })
            }
            Answer::Refused => Err(refused(key)),
            _ => Ok(PutResult { e_tag, version: None }),
        }
    }

    async fn put_multipart_opts(
        &self,
        key: &Key,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let (gate, key) = (self.clone(), key.clone());
        let noted_xxh3 = xxh3_of(&options.attributes);
        Ok(Box::new(Upload { gate, key, noted_xxh3, content: BytesMut::new(), parts: 0 }))
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        let name = key.to_string();
        let request = if options.head {
            Request::Head { key: name }
        } else {
            let range = match options.range {
                Some(GetRange::Bounded(range)) => Some(range),
                _ => None,
            };
            Request::Get { key: name, range, if_match: options.if_match }
        };
        let (meta, range, content, noted_xxh3) = match self.ask(request)? {
            Answer::Absent => return Err(absent(key)),
            Answer::Refused => return Err(refused(key)),
            Answer::Found(stored, range) => {
                let content = stored.content.slice(range.start as usize..range.end as usize);
                (meta(key, Listed::from(&stored)), range, content, stored.noted_xxh3)
            }
            Answer::Known(listed, noted_xxh3) => {
                (meta(key, listed), 0..0, Bytes::new(), noted_xxh3)
            }
            answer => panic!("{answer:?} to a get"),
        };
        let stream = futures_util::stream::iter([Ok(content)]);
        let attributes = noted_xxh3.into_iter().map(|xxh3| (XXH3, xxh3));
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream.boxed()),
            meta,
            range,
            attributes: Attributes::from_iter(attributes),
        })
    }

    fn delete_stream(
        &self,
        keys: BoxStream<'static, Result<Key>>,
    ) -> BoxStream<'static, Result<Key>> {
        let gate = self.clone();
        keys.map(move |key| {
            let key = key?;
            gate.ask(Request::Delete { key: key.to_string() }).map(|_| key)
        })
        .boxed()
    }

    fn list(&self, prefix: Option<&Key>) -> BoxStream<'static, Result<ObjectMeta>> {
        let folder = prefix.map(Key::to_string).unwrap_or_default();
        let objects = match self.ask(Request::List { folder }) {
            Ok(Answer::All(all)) => all
                .into_iter()
                .map(|(key, listed)| Ok(meta(&Key::parse(key).unwrap(), listed)))
                .collect(),
            Ok(answer) => panic!("{answer:?} to a list"),
            Err(e) => vec![Err(e)],
        };
        futures_util::stream::iter(objects).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Key>) -> Result<ListResult> {
        Err(dead())
    }

    async fn copy_opts(&self, from: &Key, to: &Key, _: CopyOptions) -> Result<()> {
        match self.ask(Request::Copy { from: from.to_string(), to: to.to_string() })? {
            Answer::Absent => Err(absent(from)),
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
struct Upload {
    gate: Gate,
    key: Key,
    noted_xxh3: Option<String>,
    content: BytesMut,
    parts: usize,
}

#[async_trait::async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.content.extend_from_slice(&Bytes::from(data));
        self.parts += 1;
        let request = Request::SendPart { key: self.key.to_string(), number: self.parts };
        let gate = self.gate.clone();
        async move { gate.ask(request).map(drop) }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (content, noted_xxh3) = (self.content.clone().freeze(), self.noted_xxh3.clone());
        self.gate.ask(Request::Complete { key: self.key.to_string(), content, noted_xxh3 })?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        self.gate.ask(Request::Abort { key: self.key.to_string() }).map(drop)
    }
}
