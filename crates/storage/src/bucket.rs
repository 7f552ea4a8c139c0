//! The buckets of object stores, asked from threads that wait for the answer.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::limit::LimitStore;
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, BackoffConfig, ClientOptions, Error, GetOptions, GetRange, ObjectMeta,
    ObjectStore, ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    RetryConfig, UpdateVersion,
};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::address::{Address, KNOWN, url_of};

/// What is asked for or sent in one request, at most: a request that is cut costs no more than
/// this.
const REQUEST_BYTES: u64 = 8 << 20;
/// Requests of one file in flight at a time; bounds what is in memory.
const REQUESTS_OF_A_FILE: usize = 4;
/// Between a request that failed and its repetition; twice as long after each.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// After so long a failure is told.
const TRIED_ENOUGH: Duration = Duration::from_mins(1);
/// Where the XXH3 of the content stands, among the object's metadata.
const XXH3: Attribute = Attribute::Metadata(std::borrow::Cow::Borrowed("xxh3"));

/// How object stores are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requests {
    /// Requests in flight to one bucket.
    pub in_flight: usize,
    /// How often a request that failed is sent again, each time after a longer wait.
    pub retries: usize,
    /// How long a request may take.
    pub timeout: Duration,
}

impl Default for Requests {
    /// 64 in flight, 10 retries, one minute.
    fn default() -> Self {
        Requests { in_flight: 64, retries: 10, timeout: Duration::from_secs(60) }
    }
}

static REQUESTS: OnceLock<Requests> = OnceLock::new();

/// Says how object stores are asked from now on. The first call of the process counts.
pub fn configure(requests: Requests) {
    let _ = REQUESTS.set(requests);
}

/// How object stores are asked.
pub fn requests() -> Requests {
    REQUESTS.get().copied().unwrap_or_default()
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Object {
    /// Path in the bucket.
    pub(crate) key: String,
    pub(crate) bytes: u64,
    /// When it was written, in seconds since 1970.
    modified_s: i64,
    /// Names the content, where the store says so.
    tag: Option<String>,
    /// Number of the content, in stores that count.
    generation: Option<String>,
}

impl From<ObjectMeta> for Object {
    fn from(meta: ObjectMeta) -> Self {
        let modified_s = meta.last_modified.timestamp();
        Object {
            key: meta.location.to_string(),
            bytes: meta.size,
            modified_s,
            tag: meta.e_tag,
            generation: meta.version,
        }
    }
}

impl Object {
    /// Whether this and an object of the same key are the same content. Not every answer of a store
    /// has the tag.
    pub(crate) fn is_still(&self, other: &Object) -> bool {
        let same_tag = match (self.bare_tag(), other.bare_tag()) {
            (Some(tag), Some(other)) => tag == other,
            _ => self.modified_s == other.modified_s,
        };
        same_tag && self.bytes == other.bytes
    }

    /// Another one whenever the object was written anew.
    pub(crate) fn version(&self) -> String {
        self.bare_tag().map_or_else(|| self.modified_s.to_string(), str::to_owned)
    }

    /// One store quotes the tag in its answers and not in its lists.
    fn bare_tag(&self) -> Option<&str> {
        self.tag.as_deref().map(|tag| tag.trim_matches('"'))
    }
}

/// What an object must be for a [`Bucket::put`] to replace it.
#[derive(Clone, Debug)]
pub(crate) enum If {
    Absent,
    Is(UpdateVersion),
}

impl If {
    /// Still this one, or none.
    pub(crate) fn still(object: Option<&Object>) -> Self {
        object.map_or(If::Absent, |object| {
            If::Is(UpdateVersion { e_tag: object.tag.clone(), version: object.generation.clone() })
        })
    }
}

/// A bucket of an object store.
pub(crate) struct Bucket {
    /// Scheme and name, as in `s3://bucket`.
    name: String,
    store: Arc<dyn ObjectStore>,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Bucket").field(&self.name).finish()
    }
}

static BUCKETS: Mutex<Option<HashMap<String, Arc<Bucket>>>> = Mutex::new(None);

/// The bucket of an address; a process opens each but once.
///
/// # Errors
/// `InvalidInput` for schemes that are not known and for an environment that does not fit the
/// store.
pub(crate) fn bucket_of(address: &Address) -> io::Result<Arc<Bucket>> {
    let mut buckets = BUCKETS.lock().unwrap_or_else(PoisonError::into_inner);
    let buckets = buckets.get_or_insert_default();
    if let Some(bucket) = buckets.get(&address.store) {
        return Ok(bucket.clone());
    }
    let bucket = Arc::new(Bucket::open(&address.store)?);
    buckets.insert(address.store.clone(), bucket.clone());
    Ok(bucket)
}

impl Bucket {
    fn open(name: &str) -> io::Result<Self> {
        let Requests { in_flight, retries, timeout } = requests();
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: FIRST_PAUSE,
                max_backoff: LONGEST_PAUSE,
                base: 2.0,
            },
            max_retries: retries,
            retry_timeout: Duration::from_mins(4),
        };
        let invalid = |reason: String| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{name}: {reason}"))
        };
        let refused = |e: Error| invalid(format!("cannot be opened as the environment says: {e}"));
        // What the environment says of proxies, certificates and plain HTTP holds, but for the time
        // limit.
        let timed = |options: ClientOptions| {
            options.with_timeout(timeout).with_connect_timeout(timeout.min(Duration::from_secs(10)))
        };
        let scheme = name.split("://").next().unwrap_or_default();
        let store: Arc<dyn ObjectStore> = match scheme {
            "s3" | "s3a" => {
                let builder = AmazonS3Builder::from_env()
                    .with_url(name)
                    .with_retry(retry)
                    .with_client_options(timed(options_of_environment("AWS_")));
                Arc::new(LimitStore::new(builder.build().map_err(refused)?, in_flight))
            }
            "gs" => {
                let builder = GoogleCloudStorageBuilder::from_env()
                    .with_url(name)
                    .with_retry(retry)
                    .with_client_options(timed(options_of_environment("GOOGLE_")));
                Arc::new(LimitStore::new(builder.build().map_err(refused)?, in_flight))
            }
            "az" | "azure" | "adl" | "abfs" | "abfss" => {
                let builder = MicrosoftAzureBuilder::from_env()
                    .with_url(name)
                    .with_retry(retry)
                    .with_client_options(timed(options_of_environment("AZURE_")));
                Arc::new(LimitStore::new(builder.build().map_err(refused)?, in_flight))
            }
            _ => return Err(invalid(format!("no object store that is known; known are {KNOWN}"))),
        };
        Ok(Bucket { name: name.to_owned(), store })
    }

    /// The URL of a key.
    pub(crate) fn url(&self, key: &str) -> PathBuf {
        url_of(&self.name, key)
    }

    fn failed(&self, key: &str) -> impl Fn(Error) -> io::Error + use<> {
        let url = self.url(key);
        move |e| io_error(&url.display().to_string(), e)
    }

    /// What there is of an object, without its content.
    ///
    /// # Errors
    /// `NotFound` where there is none; all others as [`is_outage`] tells.
    pub(crate) fn head(&self, key: &str) -> io::Result<Object> {
        let location = parse(key)?;
        wait(persist(|| self.store.head(&location)))?.map(Object::from).map_err(self.failed(key))
    }

    /// As [`Bucket::head`]; `None` where there is none.
    pub(crate) fn find(&self, key: &str) -> io::Result<Option<Object>> {
        none_if_absent(self.head(key))
    }

    /// The XXH3 that was noted when the object was sent.
    pub(crate) fn noted_xxh3(&self, key: &str) -> io::Result<Option<String>> {
        let location = parse(key)?;
        let ask =
            || self.store.get_opts(&location, GetOptions { head: true, ..GetOptions::default() });
        let answer = wait(persist(ask))?.map_err(self.failed(key))?;
        Ok(answer.attributes.get(&XXH3).map(|value| value.as_ref().to_owned()))
    }

    /// Bytes of an object, as many of the range as there are, and the object.
    pub(crate) fn read_range(&self, key: &str, range: Range<u64>) -> io::Result<(Object, Bytes)> {
        wait(read_range(self.store.clone(), parse(key)?, range, None))?.map_err(self.failed(key))
    }

    /// An object with its content.
    ///
    /// # Errors
    /// `FileTooLarge` where it has more than `most` bytes.
    pub(crate) fn read(&self, key: &str, most: u64) -> io::Result<(Object, Vec<u8>)> {
        wait(read(self.store.clone(), parse(key)?, most, self.url(key)))?
    }

    /// Begins to read an object; the answer is awaited with [`Bucket::wait_for`].
    pub(crate) fn begin_read(
        &self,
        key: &str,
        most: u64,
    ) -> io::Result<JoinHandle<io::Result<Vec<u8>>>> {
        let read = read(self.store.clone(), parse(key)?, most, self.url(key));
        Ok(runtime()?.spawn(async move { read.await.map(|(_, content)| content) }))
    }

    /// All objects below a folder, by key.
    pub(crate) fn list(
        &self,
        folder: &str,
    ) -> io::Result<impl Iterator<Item = io::Result<Object>> + use<>> {
        let prefix = if folder.is_empty() { None } else { Some(parse(folder)?) };
        let (store, failed) = (self.store.clone(), self.failed(folder));
        let (sender, mut listed) = tokio::sync::mpsc::channel(2000);
        runtime()?.spawn(async move {
            let (mut last, mut tries) = (None, Tries::default());
            loop {
                let mut objects = match &last {
                    None => store.list(prefix.as_ref()),
                    Some(last) => store.list_with_offset(prefix.as_ref(), last),
                };
                let mut cut = None;
                while let Some(object) = objects.next().await {
                    match object {
                        Ok(object) => {
                            last = Some(object.location.clone());
                            tries = Tries::default();
                            // A receiver that went away has seen enough.
                            if sender.send(Ok(object.into())).await.is_err() {
                                return;
                            }
                        }
                        Err(e) => {
                            cut = Some(e);
                            break;
                        }
                    }
                }
                match cut {
                    None => return,
                    Some(e) if tries.may_again(&e) => tries.rest().await,
                    Some(e) => {
                        let _ = sender.send(Err(failed(e))).await;
                        return;
                    }
                }
            }
        });
        Ok(std::iter::from_fn(move || listed.blocking_recv()))
    }

    /// Files of a folder, and the folders in it, by name.
    pub(crate) fn children(&self, folder: &str) -> io::Result<(Vec<Object>, Vec<String>)> {
        let prefix = if folder.is_empty() { None } else { Some(parse(folder)?) };
        let found = wait(persist(|| self.store.list_with_delimiter(prefix.as_ref())))?
            .map_err(self.failed(folder))?;
        Ok((
            found.objects.into_iter().map(Object::from).collect(),
            found.common_prefixes.into_iter().map(|prefix| prefix.to_string()).collect(),
        ))
    }

    /// Writes an object if `condition` holds; `None` where it does not.
    pub(crate) fn put(
        &self,
        key: &str,
        content: Bytes,
        condition: If,
    ) -> io::Result<Option<Object>> {
        let mode = match condition {
            If::Absent => PutMode::Create,
            If::Is(version) => PutMode::Update(version),
        };
        let location = parse(key)?;
        let ask = || {
            self.store.put_opts(
                &location,
                content.clone().into(),
                PutOptions { mode: mode.clone(), ..PutOptions::default() },
            )
        };
        match wait(persist(ask))? {
            Ok(written) => {
                // Somebody may have replaced it already: the tag is that of what was written here.
                let there = self.find(key)?;
                let modified_s = there
                    .filter(|there| there.tag == written.e_tag)
                    .map_or(0, |there| there.modified_s);
                let bytes = content.len() as u64;
                Ok(Some(Object {
                    key: key.to_owned(),
                    bytes,
                    modified_s,
                    tag: written.e_tag,
                    generation: written.version,
                }))
            }
            // A put whose answer was lost is sent again, and finds what it has written itself.
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                let found = none_if_absent(
                    self.read(key, content.len() as u64).or_else(as_absent_if_too_large),
                )?;
                Ok(found.filter(|(_, there)| *there == content).map(|(object, _)| object))
            }
            Err(e) => Err(self.failed(key)(e)),
        }
    }

    /// Writes an object, or replaces it, with the content of a file.
    pub(crate) fn send(
        &self,
        key: &str,
        file: std::fs::File,
        bytes: u64,
        xxh3: &str,
    ) -> io::Result<Object> {
        let (location, failed, file) = (parse(key)?, self.failed(key), Arc::new(file));
        // Not every store keeps an empty value.
        let attributes = Attributes::from_iter((!xxh3.is_empty()).then(|| (XXH3, xxh3.to_owned())));
        if bytes <= REQUEST_BYTES {
            let content = wait(read_part(file, 0..bytes))??;
            let options = || PutOptions { attributes: attributes.clone(), ..PutOptions::default() };
            wait(persist(|| {
                self.store.put_opts(&location, PutPayload::from_bytes(content.clone()), options())
            }))?
            .map_err(failed)?;
        } else {
            wait(persist(|| {
                self.send_in_parts(&location, file.clone(), bytes, attributes.clone())
            }))?
            .map_err(failed)?;
        }
        self.head(key)
    }

    async fn send_in_parts(
        &self,
        location: &Key,
        file: Arc<std::fs::File>,
        bytes: u64,
        attributes: Attributes,
    ) -> Result<(), Error> {
        let of_disk = |source: io::Error| Error::Generic { store: "file", source: source.into() };
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let mut upload = self.store.put_multipart_opts(location, options).await?;
        let mut send = async || {
            let mut parts = Vec::new();
            for range in pieces(0..bytes) {
                parts.push(
                    upload.put_part(read_part(file.clone(), range).await.map_err(of_disk)?.into()),
                );
                if parts.len() == REQUESTS_OF_A_FILE {
                    futures_util::future::try_join_all(parts.drain(..)).await?;
                }
            }
            futures_util::future::try_join_all(parts).await?;
            upload.complete().await.map(drop)
        };
        let sent = send().await;
        if sent.is_err() {
            // Parts that stay cost money until the bucket's rules remove them.
            let _ = upload.abort().await;
        }
        sent
    }

    /// Writes the content of an object, which is still of this version, into a file.
    pub(crate) fn fetch(&self, object: &Object, file: std::fs::File) -> io::Result<()> {
        let (store, key, failed) = (&self.store, parse(&object.key)?, &self.failed(&object.key));
        let file = Arc::new(file);
        let pieces = pieces(0..object.bytes).map(|range| {
            let (store, key, file) = (store.clone(), key.clone(), file.clone());
            let condition = object.tag.clone();
            async move {
                let (_, content) =
                    read_range(store, key, range.clone(), condition).await.map_err(failed)?;
                if content.len() as u64 != range.end - range.start {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the object ended early",
                    ));
                }
                write_part(file, range.start, content).await
            }
        });
        wait(
            futures_util::stream::iter(pieces)
                .buffer_unordered(REQUESTS_OF_A_FILE)
                .try_collect::<()>(),
        )?
    }

    /// Copies an object inside the bucket, without fetching it.
    pub(crate) fn copy(&self, from: &str, to: &str) -> io::Result<Object> {
        let (source, target) = (parse(from)?, parse(to)?);
        wait(persist(|| self.store.copy(&source, &target)))?.map_err(self.failed(from))?;
        self.head(to)
    }

    /// Removes an object, if there is one.
    pub(crate) fn remove(&self, key: &str) -> io::Result<()> {
        let location = parse(key)?;
        none_if_absent(wait(persist(|| self.store.delete(&location)))?.map_err(self.failed(key)))
            .map(drop)
    }
}

/// Awaits what was begun with [`Bucket::begin_read`].
pub(crate) fn wait_for<T>(begun: JoinHandle<io::Result<T>>) -> io::Result<T> {
    wait(begun)?.map_err(io::Error::other)?
}

/// What the environment says of the connection, beside what it says of the store.
fn options_of_environment(prefix: &str) -> ClientOptions {
    let said = std::env::vars().filter_map(|(name, value)| {
        Some((name.strip_prefix(prefix)?.to_ascii_lowercase().parse().ok()?, value))
    });
    said.fold(ClientOptions::new(), |options, (key, value)| options.with_config(key, value))
}

/// How often, and for how long, a request was sent again.
struct Tries {
    left: usize,
    began: Instant,
    pause: Duration,
}

impl Default for Tries {
    fn default() -> Self {
        Tries { left: requests().retries, began: Instant::now(), pause: FIRST_PAUSE }
    }
}

impl Tries {
    /// Whether an error may be gone the next time. The client has sent a request again itself where
    /// it knew that nothing had been done; what comes here are answers that were cut off, and the
    /// like. Whatever took long has been tried enough.
    fn may_again(&mut self, error: &Error) -> bool {
        let is_answer = !matches!(error, Error::Generic { .. } | Error::JoinError { .. });
        if is_answer || self.left == 0 || self.began.elapsed() > TRIED_ENOUGH {
            return false;
        }
        self.left -= 1;
        true
    }

    async fn rest(&mut self) {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

async fn persist<T, F: Future<Output = Result<T, Error>>>(
    mut request: impl FnMut() -> F,
) -> Result<T, Error> {
    let mut tries = Tries::default();
    loop {
        match request().await {
            Err(e) if tries.may_again(&e) => tries.rest().await,
            result => return result,
        }
    }
}

async fn read_range(
    store: Arc<dyn ObjectStore>,
    key: Key,
    range: Range<u64>,
    if_match: Option<String>,
) -> Result<(Object, Bytes), Error> {
    persist(|| try_read_range(&store, &key, range.clone(), if_match.clone())).await
}

async fn try_read_range(
    store: &Arc<dyn ObjectStore>,
    key: &Key,
    range: Range<u64>,
    if_match: Option<String>,
) -> Result<(Object, Bytes), Error> {
    let options =
        GetOptions { range: Some(GetRange::Bounded(range)), if_match, ..GetOptions::default() };
    let answer = match store.get_opts(key, options).await {
        Ok(answer) => answer,
        // An empty object has no first byte.
        Err(e) => match store.head(key).await {
            Ok(meta) if meta.size == 0 => return Ok((meta.into(), Bytes::new())),
            _ => return Err(e),
        },
    };
    let object = Object::from(answer.meta.clone());
    Ok((object, answer.bytes().await?))
}

async fn read(
    store: Arc<dyn ObjectStore>,
    key: Key,
    most: u64,
    url: PathBuf,
) -> io::Result<(Object, Vec<u8>)> {
    let failed = |e| io_error(&url.display().to_string(), e);
    let (object, first) =
        read_range(store.clone(), key.clone(), 0..REQUEST_BYTES, None).await.map_err(failed)?;
    if object.bytes > most {
        let reason = format!("{} has {} bytes, more than {most}", url.display(), object.bytes);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    let mut content = first.to_vec();
    content.reserve_exact((object.bytes as usize).saturating_sub(content.len()));
    for range in pieces(content.len() as u64..object.bytes) {
        let (_, piece) = read_range(store.clone(), key.clone(), range, object.tag.clone())
            .await
            .map_err(failed)?;
        content.extend_from_slice(&piece);
    }
    if content.len() as u64 != object.bytes {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{} ended after {} bytes", url.display(), content.len()),
        ));
    }
    Ok((object, content))
}

fn pieces(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    range.step_by(REQUEST_BYTES as usize).map(move |start| start..end.min(start + REQUEST_BYTES))
}

async fn read_part(file: Arc<std::fs::File>, range: Range<u64>) -> io::Result<Bytes> {
    let read = move || {
        use std::os::unix::fs::FileExt as _;
        let mut content = vec![0; (range.end - range.start) as usize];
        file.read_exact_at(&mut content, range.start).map(|()| Bytes::from(content))
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}

async fn write_part(file: Arc<std::fs::File>, at: u64, content: Bytes) -> io::Result<()> {
    let write = move || {
        use std::os::unix::fs::FileExt as _;
        file.write_all_at(&content, at)
    };
    tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?
}

/// The threads that talk to the stores; they are started when the first is asked.
fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let start = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("storage")
            .enable_all()
            .build()
    };
    RUNTIME
        .get_or_init(|| start().map_err(|e| e.to_string()))
        .as_ref()
        .map_err(|e| io::Error::other(format!("cannot start threads: {e}")))
}

fn wait<F: Future>(future: F) -> io::Result<F::Output> {
    Ok(runtime()?.block_on(future))
}

fn parse(key: &str) -> io::Result<Key> {
    Key::parse(key).map_err(|e| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("`{key}` is no name of an object: {e}"))
    })
}

fn none_if_absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn as_absent_if_too_large<T>(error: io::Error) -> io::Result<T> {
    match error.kind() {
        io::ErrorKind::FileTooLarge => Err(io::ErrorKind::NotFound.into()),
        _ => Err(error),
    }
}

/// The store did not answer as it should, though it was asked again and again; another time it may.
#[derive(Debug)]
struct Outage(String);

impl std::fmt::Display for Outage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Outage {}

/// Whether an object store could not be reached or refused to answer: then nothing is known of the
/// object, which may well be in order.
pub fn is_outage(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Outage>())
}

fn io_error(url: &str, error: Error) -> io::Error {
    match error {
        Error::NotFound { .. } => {
            io::Error::new(io::ErrorKind::NotFound, format!("there is no {url}"))
        }
        Error::Precondition { .. } => {
            io::Error::other(Outage(format!("{url} was replaced while it was read; run again")))
        }
        error => {
            let is_refusal =
                matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. });
            let hint = if is_refusal {
                "; look at the credentials in the environment (see docs/scale.md)"
            } else {
                ""
            };
            io::Error::other(Outage(format!(
                "the object store did not give {url}: {}{hint}",
                reason(&error)
            )))
        }
    }
}

/// The last cause, which names what happened, in one line.
fn reason(error: &dyn std::error::Error) -> String {
    const MOST_CHARACTERS: usize = 400;
    let mut causes = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    let last = causes.pop().unwrap_or_default();
    let text = match causes.pop() {
        // The last of them often is a bare word, such as a number of the operating system.
        Some(before) if last.len() < 80 && !before.contains(&last) => format!("{before}: {last}"),
        Some(before) if last.len() < 80 => before,
        _ => last,
    };
    let line: Vec<&str> = text.split_whitespace().collect();
    line.join(" ").chars().take(MOST_CHARACTERS).collect()
}

/// Puts a bucket in memory under this name, for tests.
#[cfg(test)]
pub(crate) fn open_in_memory(name: &str) -> Arc<Bucket> {
    let bucket = Arc::new(Bucket {
        name: name.to_owned(),
        store: Arc::new(object_store::memory::InMemory::new()),
    });
    BUCKETS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get_or_insert_default()
        .insert(name.to_owned(), bucket.clone());
    bucket
}
