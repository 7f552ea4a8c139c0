//! Contents of objects, in and out, in requests that are bounded.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, Error, GetOptions, GetRange, GetResult, ObjectStore,
    ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload,
};
use xxhash_rust::xxh3::Xxh3;

use crate::object::Object;
use crate::outage::io_error;
use crate::retry::with_retries;

/// What is asked for or sent in one request, at most: a request that is cut costs no more than
/// this.
pub(crate) const REQUEST_BYTES: u64 = 8 << 20;
/// Puts of one object that find another one there, which is gone when it is looked at.
const MAX_PUTS: usize = 5;
/// Requests of one file in flight at a time; bounds what is in memory.
const REQUESTS_OF_A_FILE: usize = 4;
/// The metadata of an object that has the XXH3 of its content, 16 hexadecimal digits.
const XXH3: Attribute = Attribute::Metadata(std::borrow::Cow::Borrowed("xxh3"));

/// Bytes of an object, as many of the range as there are, and the object. The client asks again by
/// itself where the answer is cut.
pub(crate) async fn read_range(
    store: Arc<dyn ObjectStore>,
    key: Key,
    range: Range<u64>,
    if_match: Option<String>,
) -> Result<(Object, Bytes), Error> {
    let range = Some(GetRange::Bounded(range));
    let options = GetOptions { range, if_match, ..GetOptions::default() };
    let answer = match store.get_opts(&key, options).await {
        Ok(answer) => answer,
        Err(e @ (Error::NotFound { .. } | Error::Precondition { .. })) => return Err(e),
        // An empty object has no first byte. An answer that is empty for another reason has no tag.
        Err(e) => match store.head(&key).await {
            Ok(meta) if meta.size == 0 && meta.e_tag.is_some() => {
                return Ok((meta.into(), Bytes::new()));
            }
            _ => return Err(e),
        },
    };
    Ok((Object::from(answer.meta.clone()), content_of(answer).await?))
}

/// The content of an answer, which must be as long as it says.
async fn content_of(answer: GetResult) -> Result<Bytes, Error> {
    let wanted = answer.range.end.saturating_sub(answer.range.start) as usize;
    let mut chunks = answer.into_stream();
    let mut content = Vec::with_capacity(wanted.min(REQUEST_BYTES as usize));
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        content.extend_from_slice(&chunk);
        if content.len() > wanted {
            break;
        }
    }
    if content.len() == wanted {
        return Ok(content.into());
    }
    let than = if content.len() > wanted { "longer" } else { "shorter" };
    let source = format!("the answer is {than} than the {wanted} bytes that it announces");
    Err(Error::Generic { store: "answer", source: source.into() })
}

/// A whole object, in requests of at most `request_bytes`.
pub(crate) async fn read(
    store: Arc<dyn ObjectStore>,
    key: Key,
    max_bytes: u64,
    request_bytes: u64,
    url: PathBuf,
) -> io::Result<(Object, Vec<u8>)> {
    let failed = |e| io_error(&url.display().to_string(), e);
    let (object, first) =
        read_range(store.clone(), key.clone(), 0..request_bytes, None).await.map_err(failed)?;
    if object.bytes > max_bytes {
        let reason = format!("{} has {} bytes, more than {max_bytes}", url.display(), object.bytes);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    let mut content = first.to_vec();
    for range in pieces(content.len() as u64..object.bytes, request_bytes) {
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

/// Writes the content of an object into a file, where one is given, in requests of at most
/// `request_bytes`, and gives its XXH3.
pub(crate) async fn fetch(
    store: Arc<dyn ObjectStore>,
    key: Key,
    bytes: u64,
    request_bytes: u64,
    if_match: Option<String>,
    file: Option<File>,
) -> Result<io::Result<u64>, Error> {
    let mut contents = futures_util::stream::iter(pieces(0..bytes, request_bytes).map(|range| {
        let (store, key, if_match) = (store.clone(), key.clone(), if_match.clone());
        async move {
            let (_, content) = read_range(store, key, range.clone(), if_match).await?;
            Ok::<_, Error>((range, content))
        }
    }))
    .buffered(REQUESTS_OF_A_FILE);
    let (file, mut hash) = (file.map(Arc::new), Xxh3::new());
    while let Some((range, content)) = contents.try_next().await? {
        if content.len() as u64 != range.end - range.start {
            let ended = range.start + content.len() as u64;
            let reason = format!("it has {ended} bytes and not {bytes}");
            return Ok(Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason)));
        }
        hash.update(&content);
        let Some(file) = file.clone() else { continue };
        let write = move || file.write_all_at(&content, range.start);
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Ok(Err(e)),
            Err(e) => return Ok(Err(io::Error::other(e))),
        }
    }
    Ok(Ok(hash.digest()))
}

/// What stands under a name that an object was to get.
pub(crate) enum Placed {
    /// The new object.
    New,
    /// Another one, which was there before, and its XXH3 as far as the store knows it.
    Existing(Object, Option<String>),
}

/// What there is of an object, with the XXH3 that was noted when it was sent.
pub(crate) async fn look_up(
    store: &Arc<dyn ObjectStore>,
    key: &Key,
) -> Result<Option<(Object, Option<String>)>, Error> {
    let options = GetOptions { head: true, ..GetOptions::default() };
    match store.get_opts(key, options).await {
        Ok(answer) => {
            let xxh3 = answer.attributes.get(&XXH3).map(|value| value.as_ref().to_owned());
            Ok(Some((answer.meta.into(), xxh3)))
        }
        Err(Error::NotFound { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Sends a file as a new object, in requests of at most `request_bytes`; one that is there stays as
/// it is. Content that is not of this XXH3 is not sent.
pub(crate) async fn send_new(
    store: Arc<dyn ObjectStore>,
    key: Key,
    file: Arc<File>,
    bytes: u64,
    request_bytes: u64,
    xxh3: &str,
) -> Result<io::Result<Placed>, Error> {
    let attributes = Attributes::from_iter([(XXH3, xxh3.to_owned())]);
    if bytes > request_bytes {
        // Large uploads have no condition. Two that look here at once send the same bytes.
        if let Some((object, noted)) = look_up(&store, &key).await? {
            return Ok(Ok(Placed::Existing(object, noted)));
        }
        let parts = pieces(0..bytes, request_bytes);
        let send =
            || send_in_parts(&store, &key, file.clone(), parts.clone(), xxh3, attributes.clone());
        return Ok(with_retries(send).await?.map(|()| Placed::New));
    }
    let content = match read_part(file, 0..bytes).await {
        Ok(content) => content,
        Err(e) => return Ok(Err(e)),
    };
    if let Err(e) = check_hash(xxhash_rust::xxh3::xxh3_64(&content), xxh3) {
        return Ok(Err(e));
    }
    let put = || {
        let options = PutOptions {
            mode: PutMode::Create,
            attributes: attributes.clone(),
            ..PutOptions::default()
        };
        store.put_opts(&key, PutPayload::from_bytes(content.clone()), options)
    };
    for _ in 0..MAX_PUTS {
        match with_retries(put).await {
            Ok(_) => return Ok(Ok(Placed::New)),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
            Err(e) => return Err(e),
        }
        if let Some((object, noted)) = look_up(&store, &key).await? {
            return Ok(Ok(Placed::Existing(object, noted)));
        }
        // It was removed in between, since nobody had named it for long.
    }
    Ok(Err(io::Error::other("an object of this name comes and goes; run again")))
}

/// Copies an object inside the bucket as a new one; one that is there stays as it is.
pub(crate) async fn copy_new(
    store: Arc<dyn ObjectStore>,
    from: Key,
    to: Key,
) -> Result<Placed, Error> {
    // As with large uploads, two that look here at once copy the same bytes.
    if let Some((object, noted)) = look_up(&store, &to).await? {
        return Ok(Placed::Existing(object, noted));
    }
    store.copy(&from, &to).await.map(|()| Placed::New)
}

async fn send_in_parts(
    store: &Arc<dyn ObjectStore>,
    key: &Key,
    file: Arc<File>,
    ranges: impl Iterator<Item = Range<u64>>,
    xxh3: &str,
    attributes: Attributes,
) -> Result<io::Result<()>, Error> {
    let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
    let mut upload = store.put_multipart_opts(key, options).await?;
    let send = async || -> Result<io::Result<()>, Error> {
        let (mut parts, mut hash) = (Vec::new(), Xxh3::new());
        for range in ranges {
            let content = match read_part(file.clone(), range).await {
                Ok(content) => content,
                Err(e) => return Ok(Err(e)),
            };
            hash.update(&content);
            parts.push(upload.put_part(content.into()));
            if parts.len() == REQUESTS_OF_A_FILE {
                futures_util::future::try_join_all(parts.drain(..)).await?;
            }
        }
        futures_util::future::try_join_all(parts).await?;
        if let Err(e) = check_hash(hash.digest(), xxh3) {
            return Ok(Err(e));
        }
        upload.complete().await.map(|_| Ok(()))
    };
    let sent = send().await;
    if !matches!(sent, Ok(Ok(()))) {
        // Parts that stay cost money until the bucket's rules remove them.
        let _ = upload.abort().await;
    }
    sent
}

fn check_hash(hash: u64, xxh3: &str) -> io::Result<()> {
    if format!("{hash:016x}") == xxh3 {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "not the bytes that manifest.json says"))
}

fn pieces(range: Range<u64>, bytes: u64) -> impl Iterator<Item = Range<u64>> + Clone {
    let end = range.end;
    range.step_by(bytes as usize).map(move |start| start..end.min(start + bytes))
}

async fn read_part(file: Arc<File>, range: Range<u64>) -> io::Result<Bytes> {
    let read = move || {
        let mut content = vec![0; (range.end - range.start) as usize];
        file.read_exact_at(&mut content, range.start).map(|()| Bytes::from(content))
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}
