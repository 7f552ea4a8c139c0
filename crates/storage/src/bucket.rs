//! The buckets of object stores, asked from threads that wait for the answer.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt as _;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::limit::LimitStore;
use object_store::path::Path as Key;
use object_store::{
    BackoffConfig, ClientOptions, Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions,
    RetryConfig,
};
use tokio::task::JoinHandle;

use crate::address::{Address, KNOWN, url_of};
use crate::http::CheckedConnector;
use crate::listed_page::RefusedKeys;
use crate::object::{Condition, Object};
use crate::outage::{io_error, none_if_absent, outage, write_error};
use crate::requests::{Requests, requests};
use crate::retry::{FIRST_PAUSE, LONGEST_PAUSE, with_retries};
use crate::runtime::{runtime, wait};
use crate::transfer::{
    Placed, REQUEST_BYTES, copy_new, fetch, look_up, read, read_range, send_new,
};

/// A folder with more objects than this is not listed to its end.
const MAX_LISTED: u64 = 1 << 31;

/// A bucket of an object store.
pub(crate) struct Bucket {
    /// Scheme and name, as in `s3://bucket`.
    name: String,
    store: Arc<dyn ObjectStore>,
    /// Keys that listings had and that cannot be asked for.
    refused: Arc<RefusedKeys>,
    /// Content that one request asks for or sends, at most.
    request_bytes: u64,
    clock: Clock,
}

/// Gives the time in seconds since 1970.
type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

fn system_clock() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_secs() as i64
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
    let refused = Arc::new(RefusedKeys::default());
    let store = open(&address.store, &refused)?;
    let bucket = Arc::new(Bucket { refused, ..Bucket::new(&address.store, store) });
    buckets.insert(address.store.clone(), bucket.clone());
    Ok(bucket)
}

/// Connects nothing yet: the first request does.
fn open(name: &str, refused: &Arc<RefusedKeys>) -> io::Result<Arc<dyn ObjectStore>> {
    let requests = requests();
    let Requests { in_flight, retries, timeout } = requests;
    let retry = RetryConfig {
        backoff: BackoffConfig { init_backoff: FIRST_PAUSE, max_backoff: LONGEST_PAUSE, base: 2.0 },
        max_retries: retries,
        retry_timeout: requests.patience(),
    };
    let invalid =
        |reason: String| io::Error::new(io::ErrorKind::InvalidInput, format!("{name}: {reason}"));
    let unfit = |e: Error| invalid(format!("cannot be opened as the environment says: {e}"));
    let environment = |prefix: &str| {
        environment(std::env::vars_os(), prefix).map_err(|name| {
            invalid(format!(
                "the value of the environment variable {name} is not UTF-8; set it again, or unset \
                 it"
            ))
        })
    };
    // What the environment says of proxies, certificates and plain HTTP holds, but for the time
    // limit.
    let timed = |options: ClientOptions| {
        options.with_timeout(timeout).with_connect_timeout(timeout.min(Duration::from_secs(10)))
    };
    let connector = CheckedConnector::new(refused.clone());
    let scheme = name.split("://").next().unwrap_or_default();
    Ok(match scheme {
        "s3" | "s3a" => {
            let options = timed(environment("AWS_")?);
            let builder = AmazonS3Builder::from_env()
                .with_url(name)
                .with_retry(retry)
                .with_http_connector(connector)
                .with_client_options(options);
            Arc::new(LimitStore::new(builder.build().map_err(unfit)?, in_flight))
        }
        "gs" => {
            let options = timed(environment("GOOGLE_")?);
            let builder = GoogleCloudStorageBuilder::from_env()
                .with_url(name)
                .with_retry(retry)
                .with_http_connector(connector)
                .with_client_options(options);
            Arc::new(LimitStore::new(builder.build().map_err(unfit)?, in_flight))
        }
        "az" | "azure" | "adl" | "abfs" | "abfss" => {
            let options = timed(environment("AZURE_")?);
            let builder = MicrosoftAzureBuilder::from_env()
                .with_url(name)
                .with_retry(retry)
                .with_http_connector(connector)
                .with_client_options(options);
            Arc::new(LimitStore::new(builder.build().map_err(unfit)?, in_flight))
        }
        _ => return Err(invalid(format!("no object store has such a URL; known are {KNOWN}"))),
    })
}

/// Variables that clients read for all stores; in small letters, too.
const PROXIES: [&str; 4] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"];

/// What the environment says of the connection, beside what it says of the store.
///
/// # Errors
/// The name of a variable for the store or the connection whose value is not UTF-8: the client
/// would do as if it were not set.
fn environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
    prefix: &str,
) -> Result<ClientOptions, String> {
    let mut options = ClientOptions::new();
    for (name, value) in variables {
        // One whose name is not UTF-8 is not one of these.
        let Ok(name) = name.into_string() else { continue };
        let key = name.strip_prefix(prefix);
        if key.is_none() && !PROXIES.iter().any(|proxy| name.eq_ignore_ascii_case(proxy)) {
            continue;
        }
        let Ok(value) = value.into_string() else { return Err(name) };
        if let Some(Ok(key)) = key.map(|key| key.to_ascii_lowercase().parse()) {
            options = options.with_config(key, value);
        }
    }
    Ok(options)
}

impl Bucket {
    pub(crate) fn new(name: &str, store: Arc<dyn ObjectStore>) -> Self {
        let (refused, clock) = (Arc::default(), Arc::new(system_clock));
        Bucket { name: name.to_owned(), store, refused, request_bytes: REQUEST_BYTES, clock }
    }

    /// A bucket with another clock and requests of another size.
    #[cfg(test)]
    pub(crate) fn with_clock(
        name: &str,
        store: Arc<dyn ObjectStore>,
        request_bytes: u64,
        clock: Clock,
    ) -> Self {
        Bucket { request_bytes, clock, ..Bucket::new(name, store) }
    }

    /// The same bucket, so much later.
    #[cfg(test)]
    pub(crate) fn later(&self, by: Duration) -> Arc<Self> {
        let (clock, by_s) = (self.clock.clone(), by.as_secs() as i64);
        let later = Arc::new(move || clock() + by_s);
        Arc::new(Self::with_clock(&self.name, self.store.clone(), self.request_bytes, later))
    }

    /// Seconds since 1970.
    pub(crate) fn now_s(&self) -> i64 {
        (self.clock)()
    }

    /// The URL of a key.
    pub(crate) fn url(&self, key: &str) -> PathBuf {
        url_of(&self.name, key)
    }

    pub(crate) fn failed(&self, key: &str) -> impl Fn(Error) -> io::Error + use<> {
        let url = self.url(key);
        move |e| io_error(&url.display().to_string(), e)
    }

    /// As [`Bucket::failed`], of a request that writes.
    fn not_written(&self, key: &str) -> impl Fn(Error) -> io::Error + use<> {
        let (url, bucket) = (self.url(key), self.name.clone());
        move |e| write_error(&url.display().to_string(), &bucket, e)
    }

    /// What there is of an object, without its content.
    ///
    /// # Errors
    /// `NotFound` where there is none; all others as [`crate::is_outage`] says.
    pub(crate) fn head(&self, key: &str) -> io::Result<Object> {
        let location = parse(key)?;
        wait(self.store.head(&location))?.map(Object::from).map_err(self.failed(key))
    }

    /// As [`Bucket::head`]; `None` where there is none.
    pub(crate) fn find(&self, key: &str) -> io::Result<Option<Object>> {
        none_if_absent(self.head(key))
    }

    /// Bytes of an object, as many of the range as there are, and the object; of this version,
    /// where one is named.
    pub(crate) fn read_range(
        &self,
        key: &str,
        range: Range<u64>,
        version: Option<&Object>,
    ) -> io::Result<(Object, Bytes)> {
        let if_match = version.and_then(|object| object.tag.clone());
        let failed = self.failed(key);
        let (object, content) =
            wait(read_range(self.store.clone(), parse(key)?, range, if_match))?.map_err(&failed)?;
        // Not every store has tags, or heeds them.
        if version.is_some_and(|version| !version.is_still(&object)) {
            let source = "it has changed".into();
            return Err(failed(Error::Precondition { path: key.to_owned(), source }));
        }
        Ok((object, content))
    }

    /// An object with its content.
    ///
    /// # Errors
    /// `FileTooLarge` where it has more than `max_bytes`.
    pub(crate) fn read(&self, key: &str, max_bytes: u64) -> io::Result<(Object, Vec<u8>)> {
        wait(read(self.store.clone(), parse(key)?, max_bytes, self.request_bytes, self.url(key)))?
    }

    /// Begins to read an object; the answer is awaited with [`crate::runtime::wait_for`].
    pub(crate) fn begin_read(
        &self,
        key: &str,
        max_bytes: u64,
    ) -> io::Result<JoinHandle<io::Result<Vec<u8>>>> {
        let read =
            read(self.store.clone(), parse(key)?, max_bytes, self.request_bytes, self.url(key));
        Ok(runtime()?.spawn(async move { read.await.map(|(_, content)| content) }))
    }

    /// All objects below a folder, by key.
    pub(crate) fn list(
        &self,
        folder: &str,
    ) -> io::Result<impl Iterator<Item = io::Result<Object>> + use<>> {
        let prefix = if folder.is_empty() { None } else { Some(parse(folder)?) };
        let (store, failed) = (self.store.clone(), self.failed(folder));
        let url = self.url(folder);
        let (sender, mut listed) = tokio::sync::mpsc::channel(2000);
        runtime()?.spawn(async move {
            let patience = requests().patience().saturating_add(requests().timeout);
            let mut objects = store.list(prefix.as_ref());
            let mut repeats = Repeats::default();
            loop {
                let next = match tokio::time::timeout(patience, objects.next()).await {
                    Ok(None) => return,
                    Ok(Some(Err(e))) => Err(failed(e)),
                    Ok(Some(Ok(object))) if repeats.is_repeated(object.location.as_ref()) => {
                        Err(outage(format!(
                            "the object store lists the same objects of {} again and again",
                            url.display()
                        )))
                    }
                    Ok(Some(Ok(object))) => Ok(Object::from(object)),
                    Err(_) => Err(outage(format!(
                        "the object store lists {} without end: no object in {} seconds",
                        url.display(),
                        patience.as_secs()
                    ))),
                };
                let is_end = next.is_err();
                // A receiver that went away has seen enough.
                if sender.send(next).await.is_err() || is_end {
                    return;
                }
            }
        });
        Ok(std::iter::from_fn(move || listed.blocking_recv()))
    }

    /// Keys below a folder, from there, that listings of it had and that cannot be asked for.
    pub(crate) fn refused_below(&self, folder: &str) -> Vec<String> {
        self.refused.below(folder)
    }

    /// Files of a folder, and the folders in it, by name.
    pub(crate) fn children(&self, folder: &str) -> io::Result<(Vec<Object>, Vec<String>)> {
        let prefix = if folder.is_empty() { None } else { Some(parse(folder)?) };
        let (requests, url) = (requests(), self.url(folder));
        let patience = requests.patience().saturating_add(requests.timeout);
        let listing = self.store.list_with_delimiter(prefix.as_ref());
        let found = wait(async { tokio::time::timeout(patience, listing).await })?
            .map_err(|_| {
                outage(format!(
                    "the object store lists {} without end: not done after {} seconds",
                    url.display(),
                    patience.as_secs()
                ))
            })?
            .map_err(self.failed(folder))?;
        Ok((
            found.objects.into_iter().map(Object::from).collect(),
            found.common_prefixes.into_iter().map(|prefix| prefix.to_string()).collect(),
        ))
    }

    /// Writes an object in one request if `condition` holds; `None` where it does not.
    pub(crate) fn put_if(
        &self,
        key: &str,
        content: Bytes,
        condition: Condition,
    ) -> io::Result<Option<Object>> {
        let mode = match condition {
            Condition::Absent => PutMode::Create,
            Condition::Version(version) => PutMode::Update(version),
        };
        match self.put(key, content.clone(), mode) {
            Ok(object) => object.map(Some),
            // A put whose answer was lost is sent again, and finds what it has written itself.
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                match self.read(key, content.len() as u64) {
                    Ok((object, there)) => Ok((there == content).then_some(object)),
                    Err(e)
                        if matches!(
                            e.kind(),
                            io::ErrorKind::NotFound | io::ErrorKind::FileTooLarge
                        ) =>
                    {
                        Ok(None)
                    }
                    Err(e) => Err(e),
                }
            }
            Err(e) => Err(self.not_written(key)(e)),
        }
    }

    /// Writes an object, or replaces it, in one request.
    pub(crate) fn put_over(&self, key: &str, content: Bytes) -> io::Result<Object> {
        self.put(key, content, PutMode::Overwrite).map_err(self.not_written(key))?
    }

    fn put(&self, key: &str, content: Bytes, mode: PutMode) -> Result<io::Result<Object>, Error> {
        let bytes = content.len() as u64;
        let put = async {
            let location = Key::parse(key)?;
            let options = || PutOptions { mode: mode.clone(), ..PutOptions::default() };
            with_retries(|| self.store.put_opts(&location, content.clone().into(), options())).await
        };
        let written = match wait(put) {
            Ok(written) => written?,
            Err(e) => return Ok(Err(e)),
        };
        if written.e_tag.is_none() {
            return Ok(self.head(key));
        }
        Ok(Ok(Object {
            key: key.to_owned(),
            bytes,
            modified_s: 0,
            tag: written.e_tag,
            generation: written.version,
        }))
    }

    /// What there is of an object, with the XXH3 that was noted when it was sent.
    pub(crate) fn look_up(&self, key: &str) -> io::Result<Option<(Object, Option<String>)>> {
        let location = parse(key)?;
        wait(look_up(&self.store, &location))?.map_err(self.failed(key))
    }

    /// Sends a file as a new object; one that is there stays as it is.
    ///
    /// # Errors
    /// `InvalidData` where the file's content is not of this XXH3.
    pub(crate) fn send_new(
        &self,
        key: &str,
        file: File,
        bytes: u64,
        xxh3: &str,
    ) -> io::Result<Placed> {
        let file = Arc::new(file);
        let send = send_new(self.store.clone(), parse(key)?, file, bytes, self.request_bytes, xxh3);
        wait(send)?.map_err(self.not_written(key))?
    }

    /// Copies an object inside the bucket as a new one, without fetching it; one that is there
    /// stays as it is.
    pub(crate) fn copy_new(&self, from: &str, to: &str) -> io::Result<Placed> {
        let copy = copy_new(self.store.clone(), parse(from)?, parse(to)?);
        wait(copy)?.map_err(self.failed(from))
    }

    /// Writes the content of an object, of this version where one is named, into a file, and gives
    /// its XXH3.
    pub(crate) fn fetch(
        &self,
        key: &str,
        bytes: u64,
        tag: Option<String>,
        file: File,
    ) -> io::Result<u64> {
        let (store, file) = (self.store.clone(), Some(file));
        let fetch = fetch(store, parse(key)?, bytes, self.request_bytes, tag, file);
        wait(fetch)?.map_err(self.failed(key))?
    }

    /// Whether the content of an object has this size and XXH3; reads all of it.
    pub(crate) fn has_content(&self, key: &str, bytes: u64, xxh3: &str) -> io::Result<bool> {
        let (store, none) = (self.store.clone(), None);
        let fetch = fetch(store, parse(key)?, bytes, self.request_bytes, None, none);
        match wait(fetch)? {
            Ok(Ok(hash)) => Ok(format!("{hash:016x}") == xxh3),
            Ok(Err(e)) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Ok(Err(e)) => Err(e),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(self.failed(key)(e)),
        }
    }

    /// Removes an object, if there is one.
    pub(crate) fn remove(&self, key: &str) -> io::Result<()> {
        let location = parse(key)?;
        let removed = wait(self.store.delete(&location))?.map_err(self.failed(key));
        none_if_absent(removed).map(drop)
    }
}

pub(crate) fn parse(key: &str) -> io::Result<Key> {
    Key::parse(key).map_err(|e| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`{key}` cannot be the name of an object: {e}"),
        )
    })
}

/// Finds out that names come again and again, without keeping them: one is kept, of later and later
/// numbers, and a cycle passes it.
#[derive(Default)]
struct Repeats {
    seen: u64,
    kept: String,
}

impl Repeats {
    fn is_repeated(&mut self, name: &str) -> bool {
        if (self.seen > 0 && self.kept == name) || self.seen >= MAX_LISTED {
            return true;
        }
        self.seen += 1;
        if self.seen.is_power_of_two() {
            name.clone_into(&mut self.kept);
        }
        false
    }
}

/// Makes a bucket known under its name, for tests.
#[cfg(test)]
pub(crate) fn register(bucket: Arc<Bucket>) {
    let mut buckets = BUCKETS.lock().unwrap_or_else(PoisonError::into_inner);
    buckets.get_or_insert_default().insert(bucket.name.clone(), bucket);
}

/// Puts a bucket in memory under this name, for tests.
#[cfg(test)]
pub(crate) fn open_in_memory(name: &str) -> Arc<Bucket> {
    let bucket = Arc::new(Bucket::new(name, Arc::new(object_store::memory::InMemory::new())));
    register(bucket.clone());
    bucket
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_that_begins_again_is_found_out() {
        let mut repeats = Repeats::default();
        assert!((0..10_000).all(|number| !repeats.is_repeated(&number.to_string())));
        for (before, cycle) in [(0, 1), (3, 1), (5, 7), (1000, 1000)] {
            let names = (0..before).chain((before..before + cycle).cycle());
            let mut repeats = Repeats::default();
            let found = names.take(10_000).position(|name| repeats.is_repeated(&name.to_string()));
            assert!(found.is_some(), "{before} {cycle}");
        }
    }

    #[test]
    fn a_value_of_the_environment_that_is_not_utf8_is_an_error_where_it_matters() {
        use std::os::unix::ffi::OsStringExt as _;
        let odd = || OsString::from_vec(b"k\xFFy".to_vec());
        let read = |name: OsString| {
            environment([(name, odd()), ("AWS_REGION".into(), "here".into())].into_iter(), "AWS_")
                .map(drop)
        };
        for name in ["AWS_SECRET_ACCESS_KEY", "AWS_UNKNOWN", "https_proxy", "NO_PROXY"] {
            assert_eq!(read(name.into()), Err(name.to_owned()));
        }
        for name in ["GOOGLE_BUCKET", "LS_COLORS", ""] {
            assert_eq!(read(name.into()), Ok(()), "{name}");
        }
        assert_eq!(read(odd()), Ok(()));
    }

    #[test]
    fn a_put_says_whether_its_condition_held() {
        let bucket = open_in_memory("test://conditions");
        let put = |content: &'static str, condition| {
            bucket.put_if("a/b", Bytes::from_static(content.as_bytes()), condition).unwrap()
        };
        let first = put("one", Condition::Absent).unwrap();
        assert!(put("two", Condition::Absent).is_none());
        assert!(put("one", Condition::Absent).is_some(), "its own answer was lost");
        let second = put("two", Condition::still(Some(&first))).unwrap();
        assert!(put("three", Condition::still(Some(&first))).is_none());
        assert!(second.is_still(&bucket.head("a/b").unwrap()));
    }
}
