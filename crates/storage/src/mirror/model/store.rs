//! An object store as a value: what a request does to it, and what it answers, is a function.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

/// The objects of a bucket, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Store(pub(super) BTreeMap<String, Stored>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stored {
    pub(super) content: Bytes,
    /// The XXH3 that was noted when it was sent.
    pub(super) noted_xxh3: Option<String>,
    pub(super) modified_s: i64,
}

impl Stored {
    /// The same for the same content, as in S3.
    pub(super) fn tag(&self) -> String {
        format!("{:016x}", xxh3_64(&self.content))
    }
}

/// What must hold for a put.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Precondition {
    None,
    Absent,
    Tag(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Request {
    Put {
        key: String,
        content: Bytes,
        noted_xxh3: Option<String>,
        only_if: Precondition,
    },
    Get {
        key: String,
        range: Option<Range<u64>>,
        if_match: Option<String>,
    },
    Head {
        key: String,
    },
    List {
        folder: String,
    },
    Copy {
        from: String,
        to: String,
    },
    Delete {
        key: String,
    },
    /// Nobody sees the parts of an upload before it is complete.
    SendPart {
        key: String,
        number: usize,
    },
    Complete {
        key: String,
        content: Bytes,
        noted_xxh3: Option<String>,
    },
    Abort {
        key: String,
    },
}

impl Request {
    /// In few words.
    pub(super) fn name(&self) -> String {
        match self {
            Request::Put { key, .. } => format!("put {key}"),
            Request::Get { key, range: Some(range), .. } => format!("get {key} {range:?}"),
            Request::Get { key, .. } => format!("get {key}"),
            Request::Head { key } => format!("head {key}"),
            Request::List { folder } => format!("list {folder}"),
            Request::Copy { from, to } => format!("copy {from} to {to}"),
            Request::Delete { key } => format!("delete {key}"),
            Request::SendPart { key, number } => format!("send part {number} of {key}"),
            Request::Complete { key, .. } => format!("complete {key}"),
            Request::Abort { key } => format!("abort {key}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    Done,
    Found(Stored, Range<u64>),
    /// What there is of an object, without its content.
    Known(Listed, Option<String>),
    All(Vec<(String, Listed)>),
    /// There is no such object.
    Absent,
    /// The precondition does not hold.
    Refused,
    /// The request is done, and the process dies before it hears of it.
    Dead,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Listed {
    pub(super) bytes: u64,
    pub(super) tag: String,
    pub(super) modified_s: i64,
}

impl From<&Stored> for Listed {
    fn from(stored: &Stored) -> Self {
        let (bytes, tag) = (stored.content.len() as u64, stored.tag());
        Listed { bytes, tag, modified_s: stored.modified_s }
    }
}

impl Store {
    /// Does a request at this time.
    pub(super) fn answer(&mut self, request: &Request, now_s: i64) -> Answer {
        let stored = |content: &Bytes, noted_xxh3: &Option<String>| {
            let (content, noted_xxh3) = (content.clone(), noted_xxh3.clone());
            Stored { content, noted_xxh3, modified_s: now_s }
        };
        match request {
            Request::Put { key, content, noted_xxh3, only_if } => {
                let there = self.0.get(key).map(Stored::tag);
                let is_met = match only_if {
                    Precondition::None => true,
                    Precondition::Absent => there.is_none(),
                    Precondition::Tag(tag) => there.as_ref() == Some(tag),
                };
                if !is_met {
                    return Answer::Refused;
                }
                self.0.insert(key.clone(), stored(content, noted_xxh3));
                Answer::Done
            }
            Request::Complete { key, content, noted_xxh3 } => {
                self.0.insert(key.clone(), stored(content, noted_xxh3));
                Answer::Done
            }
            Request::Get { key, range, if_match } => match self.0.get(key) {
                None => Answer::Absent,
                Some(object) if if_match.as_ref().is_some_and(|tag| *tag != object.tag()) => {
                    Answer::Refused
                }
                Some(object) => {
                    let end = object.content.len() as u64;
                    let range = range.clone().unwrap_or(0..end);
                    Answer::Found(object.clone(), range.start..range.end.min(end))
                }
            },
            Request::Head { key } => match self.0.get(key) {
                None => Answer::Absent,
                Some(object) => Answer::Known(object.into(), object.noted_xxh3.clone()),
            },
            Request::List { folder } => {
                let is_below = |key: &str| {
                    folder.is_empty()
                        || key
                            .strip_prefix(folder.as_str())
                            .is_some_and(|rest| rest.starts_with('/'))
                };
                let below = self.0.iter().filter(|(key, _)| is_below(key));
                Answer::All(below.map(|(key, object)| (key.clone(), object.into())).collect())
            }
            Request::Copy { from, to } => match self.0.get(from).cloned() {
                None => Answer::Absent,
                Some(object) => {
                    self.0.insert(to.clone(), Stored { modified_s: now_s, ..object });
                    Answer::Done
                }
            },
            Request::Delete { key } => {
                self.0.remove(key);
                Answer::Done
            }
            Request::SendPart { .. } | Request::Abort { .. } => Answer::Done,
        }
    }
}
