use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use ureq::http::{HeaderMap, Response, StatusCode, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use crate::error::DownloadError;
use crate::hex::hex;
use crate::part::{Part, digest_of};

/// The most that is fetched unless a request says otherwise: 64 GiB.
const MAX_BYTES: u64 = 64 << 30;
/// A connection that brings fewer bytes than this in [`Fetch::patience`] counts as broken, and as a
/// try without success: otherwise a server that sends a byte now and then would never be left.
const MIN_PROGRESS_BYTES: u64 = 64 << 10;

/// Variables that name proxies; in small letters, too.
const PROXIES: [&str; 4] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"];

/// What to download, to where, and how to know that it is right.
#[derive(Clone)]
pub struct Fetch {
    url: String,
    destination: PathBuf,
    headers: Vec<(String, String)>,
    sha256: Option<String>,
    bytes: Option<u64>,
    max_bytes: u64,
    retries: u32,
    first_pause: Duration,
    patience: Duration,
}

/// A download that is whole, checked and in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content, 64 hexadecimal digits.
    pub sha256: String,
    /// Bytes that were here before: from a broken download, or all of them where nothing had to be
    /// fetched.
    pub kept_bytes: u64,
}

impl Fetch {
    /// The file at `url`, to be put at `destination`.
    pub fn new(url: impl Into<String>, destination: impl Into<PathBuf>) -> Self {
        Fetch {
            url: url.into(),
            destination: destination.into(),
            headers: Vec::new(),
            sha256: None,
            bytes: None,
            max_bytes: MAX_BYTES,
            retries: 5,
            first_pause: Duration::from_millis(500),
            patience: Duration::from_secs(60),
        }
    }

    /// Sends a header along. `Authorization` is not passed on when the server redirects.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Expects this SHA-256, in hexadecimal digits; the first digits are enough, as in
    /// torchvision's file names.
    pub fn sha256(mut self, digits: impl Into<String>) -> Self {
        self.sha256 = Some(digits.into().to_lowercase());
        self
    }

    /// Expects this size.
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Fetches no more than this (default 64 GiB), whatever the server says or sends.
    pub fn max_bytes(mut self, max_bytes: u64) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// How many times in a row to try again where nearly nothing was gained (default 5), and how
    /// long to wait before the first of them (default 0.5 s); each further pause doubles, up to
    /// 30 s.
    pub fn retries(mut self, retries: u32, first_pause: Duration) -> Self {
        (self.retries, self.first_pause) = (retries, first_pause);
        self
    }

    /// How long to wait for an answer, or for the next 64 KiB, before a connection counts as broken
    /// (default 60 s).
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn shown_url(&self) -> String {
        // A query can carry a signature.
        self.url.split(['?', '#']).next().unwrap_or_default().to_owned()
    }

    fn host(&self) -> String {
        self.url
            .parse::<Uri>()
            .ok()
            .and_then(|uri| uri.authority().map(|authority| authority.to_string()))
            .unwrap_or_else(|| self.shown_url())
    }

    fn matches(&self, sha256: &str) -> bool {
        self.sha256.as_deref().is_none_or(|expected| sha256.starts_with(expected))
    }
}

/// Downloads a file: streams it to `<destination>.part`, takes up a broken download where it
/// stopped, tries again with growing pauses, checks size and SHA-256, makes it durable, and only
/// then gives it its name. A destination that is already there and matches is left as it is.
///
/// `progress` receives the bytes so far and the total, if the server says it.
///
/// # Errors
/// See [`DownloadError`]. What came before a broken connection is kept for the next run; content
/// that is not the expected one is removed.
pub fn fetch(
    request: &Fetch,
    mut progress: impl FnMut(u64, Option<u64>),
) -> Result<Fetched, DownloadError> {
    check_request(request)?;
    if let Some(fetched) = already_there(request)? {
        progress(fetched.bytes, Some(fetched.bytes));
        return Ok(fetched);
    }
    let agent = agent(request)?;
    let mut part = Part::open(&request.destination)?;
    if let Some(fetched) = already_there(request)? {
        // Another process ended the same download while this one waited.
        part.discard()?;
        return Ok(fetched);
    }
    let mut may_restart = part.bytes() > 0;
    let mut kept_bytes = part.bytes();
    loop {
        match transfer_with_retries(request, &agent, &mut part, &mut progress) {
            Ok(kept) => kept_bytes = kept_bytes.min(kept),
            Err(error) => {
                let is_wrong = matches!(
                    error,
                    DownloadError::SizeMismatch { .. } | DownloadError::TooLong { .. }
                );
                if part.bytes() == 0 || is_wrong {
                    part.discard()?;
                }
                return Err(error);
            }
        }
        let sha256 = part.sha256();
        if request.matches(&sha256) {
            let bytes = part.bytes();
            part.publish(&request.destination)?;
            return Ok(Fetched { path: request.destination.clone(), bytes, sha256, kept_bytes });
        }
        if !may_restart {
            part.discard()?;
            let expected = request.sha256.clone().unwrap_or_default();
            return Err(DownloadError::ChecksumMismatch {
                url: request.shown_url(),
                expected,
                found: sha256,
            });
        }
        // The bytes of the earlier run may be of an older file: once more, from the start.
        may_restart = false;
        part.restart(None)?;
    }
}

/// SHA-256 of a file, 64 hexadecimal digits.
///
/// # Errors
/// Fails where the file cannot be read.
pub fn sha256_of(path: &Path) -> Result<String, DownloadError> {
    let mut digest = Sha256::new();
    let mut file = File::open(path).map_err(DownloadError::disk("cannot open", path))?;
    digest_of(&mut file, &mut digest).map_err(DownloadError::disk("cannot read", path))?;
    Ok(hex(&digest.finalize()))
}

fn check_request(request: &Fetch) -> Result<(), DownloadError> {
    let address = |reason: &str| DownloadError::Address {
        url: request.url.clone(),
        reason: reason.to_owned(),
    };
    let uri: Uri = request.url.parse().map_err(|_| address("it does not parse as a URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.authority().is_none() {
        return Err(address("it should start with https:// and a host"));
    }
    match &request.sha256 {
        Some(digits)
            if digits.is_empty()
                || digits.len() > 64
                || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
        {
            Err(address(&format!(
                "the expected SHA-256 `{digits}` is not 1 to 64 hexadecimal digits"
            )))
        }
        _ => Ok(()),
    }
}

/// The destination, if it is what is wanted. Only a regular file may be replaced by another.
fn already_there(request: &Fetch) -> Result<Option<Fetched>, DownloadError> {
    let path = &request.destination;
    let metadata = std::fs::metadata(path).ok();
    if let Some(metadata) = metadata.filter(Metadata::is_file)
        && request.bytes.is_none_or(|expected| expected == metadata.len())
    {
        let (bytes, sha256) = (metadata.len(), sha256_of(path)?);
        if request.matches(&sha256) {
            return Ok(Some(Fetched { path: path.clone(), bytes, sha256, kept_bytes: bytes }));
        }
    }
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(DownloadError::NotAFile { path: path.clone() }),
        _ => Ok(None),
    }
}

fn agent(request: &Fetch) -> Result<Agent, DownloadError> {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .max_idle_connections(0)
        .user_agent(concat!("ossify/", env!("CARGO_PKG_VERSION")))
        // Ranges count the bytes of the file itself, so it must come as it is.
        .accept_encoding("identity")
        .timeout_resolve(Some(request.patience))
        .timeout_connect(Some(request.patience.min(Duration::from_secs(20))))
        .timeout_recv_response(Some(request.patience))
        .timeout_per_read(Some(request.patience));
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else { continue };
        let is_proxy = PROXIES.iter().any(|proxy| name.eq_ignore_ascii_case(proxy));
        if is_proxy && value.to_str().is_none() {
            return Err(DownloadError::NotUtf8 { name });
        }
    }
    if let Some(bundle) = std::env::var_os("SSL_CERT_FILE").filter(|bundle| !bundle.is_empty()) {
        let bundle = PathBuf::from(bundle);
        let pem = std::fs::read(&bundle).map_err(DownloadError::disk(
            "cannot read the certificates of SSL_CERT_FILE",
            &bundle,
        ))?;
        let certificates = parse_pem(&pem).filter_map(|item| {
            if let Ok(PemItem::Certificate(certificate)) = item { Some(certificate) } else { None }
        });
        config = config.tls_config(
            TlsConfig::builder()
                .root_certs(RootCerts::Specific(Arc::new(certificates.collect())))
                .build(),
        );
    }
    Ok(config.build().new_agent())
}

/// Why one connection did not bring the rest of the file.
enum Break {
    /// Worth another try: the network, or a server that is busy.
    Passing { error: DownloadError, wait: Option<Duration>, kind: Passing },
    /// The same thing would happen again.
    Final(DownloadError),
}

#[derive(PartialEq)]
enum Passing {
    /// There is no way to the server.
    NoConnection,
    /// The server was reached.
    Interrupted,
}

impl From<DownloadError> for Break {
    fn from(error: DownloadError) -> Self {
        Break::Final(error)
    }
}

/// Asks until the whole content is in `part`. Returns how many of the bytes that were there at
/// first were kept.
fn transfer_with_retries(
    request: &Fetch,
    agent: &Agent,
    part: &mut Part,
    progress: &mut impl FnMut(u64, Option<u64>),
) -> Result<u64, DownloadError> {
    // If nothing answers at all, more tries are pointless.
    const TRIES_WITHOUT_CONNECTION: u32 = 2;
    let mut kept = part.bytes();
    let mut fruitless = 0;
    loop {
        let before = part.bytes();
        let outcome = transfer(request, agent, part, progress, &mut kept);
        if part.bytes() >= before + MIN_PROGRESS_BYTES {
            fruitless = 0;
        }
        match outcome {
            Ok(()) => return Ok(kept),
            Err(Break::Final(error)) => return Err(error),
            Err(Break::Passing { error, wait, kind }) => {
                let limit = if kind == Passing::NoConnection {
                    request.retries.min(TRIES_WITHOUT_CONNECTION)
                } else {
                    request.retries
                };
                if fruitless >= limit {
                    return Err(error);
                }
                let pause = request.first_pause * 2u32.saturating_pow(fruitless);
                thread::sleep(wait.unwrap_or(pause).min(Duration::from_secs(30)));
                fruitless += 1;
            }
        }
    }
}

/// One connection: asks for what is missing and appends what comes.
fn transfer(
    request: &Fetch,
    agent: &Agent,
    part: &mut Part,
    progress: &mut impl FnMut(u64, Option<u64>),
    kept: &mut u64,
) -> Result<(), Break> {
    let mut response = ask(request, agent, part)?;
    let headers = response.headers();
    let validator = validator_of(headers);
    if response.status().is_success() {
        refuse_page(request, headers)?;
    }
    let total = match response.status() {
        StatusCode::PARTIAL_CONTENT => {
            let range = ContentRange::of(headers);
            // Without our If-Range, the server cannot know that the file has changed since.
            let is_same_file = validator.is_none()
                || part.validator().is_none()
                || part.validator() == validator.as_deref();
            match range {
                Some(ContentRange { start: Some(start), total })
                    if start == part.bytes() && is_same_file =>
                {
                    total
                }
                _ => return restart_later(request, part, kept),
            }
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let total = ContentRange::of(headers).and_then(|range| range.total);
            return if total == Some(part.bytes()) && part.bytes() > 0 {
                check_size(request, part.bytes())
            } else {
                restart_later(request, part, kept)
            };
        }
        StatusCode::OK => {
            part.restart(validator)?;
            *kept = 0;
            content_length(headers)
        }
        status => return Err(refusal(request, status, headers)),
    };
    if let Some(total) = total {
        check_size(request, total)?;
        check_length(request, total)?;
    }
    progress(part.bytes(), total.or(request.bytes));
    let mut body = response.body_mut().as_reader();
    let mut buffer = vec![0; 1 << 17];
    let (mut window_began, mut bytes_then) = (Instant::now(), part.bytes());
    loop {
        if window_began.elapsed() > request.patience {
            let came = part.bytes() - bytes_then;
            if came < MIN_PROGRESS_BYTES {
                let reason =
                    format!("only {came} bytes came in {} s", request.patience.as_secs_f32());
                return Err(broken(
                    request,
                    io::Error::new(io::ErrorKind::TimedOut, reason).into(),
                ));
            }
            (window_began, bytes_then) = (Instant::now(), part.bytes());
        }
        match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                check_length(request, part.bytes() + n as u64)?;
                part.append(&buffer[..n])?;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(broken(request, e.into())),
        }
        progress(part.bytes(), total.or(request.bytes));
        if let Some(limit) = total.or(request.bytes).filter(|limit| part.bytes() > *limit) {
            let found = part.bytes();
            return Err(DownloadError::SizeMismatch {
                url: request.shown_url(),
                expected: limit,
                found,
            }
            .into());
        }
    }
    match total {
        Some(total) if part.bytes() < total => Err(broken(
            request,
            io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the connection ended after {} of {total} bytes", part.bytes()),
            )
            .into(),
        )),
        _ if part.bytes() == 0 && request.bytes != Some(0) => {
            Err(DownloadError::Empty { url: request.shown_url() }.into())
        }
        _ => check_size(request, part.bytes()),
    }
}

fn ask(request: &Fetch, agent: &Agent, part: &Part) -> Result<Response<Body>, Break> {
    let mut call = agent.get(&request.url);
    for (name, value) in &request.headers {
        call = call.header(name, value);
    }
    if part.bytes() > 0 {
        call = call.header("Range", format!("bytes={}-", part.bytes()));
        if let Some(validator) = part.validator() {
            call = call.header("If-Range", validator);
        }
    }
    call.call().map_err(|error| broken(request, error))
}

/// What is here does not fit what the server has: the next connection starts over.
fn restart_later(request: &Fetch, part: &mut Part, kept: &mut u64) -> Result<(), Break> {
    if part.bytes() == 0 {
        // A server that answers a plain request with a part would do so for ever.
        return Err(DownloadError::Status {
            url: request.shown_url(),
            status: StatusCode::PARTIAL_CONTENT.as_u16(),
        }
        .into());
    }
    part.restart(None)?;
    *kept = 0;
    let error = DownloadError::Unreachable {
        host: request.host(),
        reason: "the file changed while it was fetched".into(),
    };
    Err(Break::Passing { error, wait: Some(Duration::ZERO), kind: Passing::Interrupted })
}

fn check_size(request: &Fetch, found: u64) -> Result<(), Break> {
    match request.bytes {
        Some(expected) if expected != found => {
            Err(DownloadError::SizeMismatch { url: request.shown_url(), expected, found }.into())
        }
        _ => Ok(()),
    }
}

fn check_length(request: &Fetch, bytes: u64) -> Result<(), DownloadError> {
    if bytes <= request.max_bytes {
        return Ok(());
    }
    Err(DownloadError::TooLong { url: request.shown_url(), max_bytes: request.max_bytes })
}

/// Servers answer with a page for people, and success, where a login or a proxy comes first.
fn refuse_page(request: &Fetch, headers: &HeaderMap) -> Result<(), DownloadError> {
    let content_type = header(headers, "content-type").unwrap_or_default();
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    if !["text/html", "application/xhtml+xml"].iter().any(|page| kind.eq_ignore_ascii_case(page)) {
        return Ok(());
    }
    Err(DownloadError::Page { url: request.shown_url(), content_type: kind.to_owned() })
}

fn refusal(request: &Fetch, status: StatusCode, headers: &HeaderMap) -> Break {
    let (url, code) = (request.shown_url(), status.as_u16());
    match code {
        401 | 403 => DownloadError::Denied { url, status: code }.into(),
        404 | 410 => DownloadError::NotFound { url, status: code }.into(),
        408 | 425 | 429 | 500..=599 => {
            let wait = header(headers, "retry-after")
                .and_then(|text| text.parse().ok())
                .map(Duration::from_secs);
            Break::Passing {
                error: DownloadError::Status { url, status: code },
                wait,
                kind: Passing::Interrupted,
            }
        }
        _ => DownloadError::Status { url, status: code }.into(),
    }
}

fn broken(request: &Fetch, error: ureq::Error) -> Break {
    let host = request.host();
    let unreachable = |reason: String, kind| Break::Passing {
        error: DownloadError::Unreachable { host: host.clone(), reason },
        wait: None,
        kind,
    };
    match error {
        ureq::Error::BadUri(reason) => {
            DownloadError::Address { url: request.url.clone(), reason }.into()
        }
        ureq::Error::Http(reason) => {
            DownloadError::Address { url: request.url.clone(), reason: reason.to_string() }.into()
        }
        ureq::Error::Rustls(reason) => {
            DownloadError::Certificate { host, reason: reason.to_string() }.into()
        }
        ureq::Error::TooManyRedirects => {
            let reason = "it leads from one address to the next without end".to_owned();
            DownloadError::Unreachable { host, reason }.into()
        }
        ureq::Error::HostNotFound => {
            unreachable("no such host; is this machine online?".into(), Passing::NoConnection)
        }
        ureq::Error::ConnectionFailed => {
            unreachable("connection refused".into(), Passing::NoConnection)
        }
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
            unreachable("no connection in time".into(), Passing::NoConnection)
        }
        ureq::Error::Io(e)
            if e.kind() == io::ErrorKind::InvalidData && e.to_string().contains("certificate") =>
        {
            DownloadError::Certificate { host, reason: e.to_string() }.into()
        }
        ureq::Error::Io(e)
            if matches!(
                e.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::HostUnreachable
            ) =>
        {
            unreachable(e.to_string(), Passing::NoConnection)
        }
        ureq::Error::Timeout(_) => {
            let reason = format!("no bytes came in {} s", request.patience.as_secs_f32());
            unreachable(reason, Passing::Interrupted)
        }
        ureq::Error::Io(e) => unreachable(e.to_string(), Passing::Interrupted),
        ureq::Error::Protocol(e) => {
            unreachable(format!("the answer is not HTTP: {e}"), Passing::Interrupted)
        }
        error => unreachable(error.to_string(), Passing::Interrupted),
    }
}

/// A strong ETag, else the date of change: what `If-Range` accepts.
fn validator_of(headers: &HeaderMap) -> Option<String> {
    let etag = header(headers, "etag").filter(|etag| !etag.starts_with("W/"));
    etag.or_else(|| header(headers, "last-modified")).map(str::to_owned)
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    header(headers, "content-length")?.parse().ok()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// `bytes 5-9/10`, `bytes 5-9/*` or `bytes */10`.
#[derive(Debug, PartialEq)]
struct ContentRange {
    start: Option<u64>,
    total: Option<u64>,
}

impl ContentRange {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let (range, total) =
            header(headers, "content-range")?.strip_prefix("bytes ")?.split_once('/')?;
        Some(ContentRange {
            start: range.split_once('-').and_then(|(start, _)| start.trim().parse().ok()),
            total: total.trim().parse().ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read() {
        let range = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("content-range", text.parse().unwrap());
            ContentRange::of(&headers)
        };
        assert_eq!(range("bytes 5-9/10"), Some(ContentRange { start: Some(5), total: Some(10) }));
        assert_eq!(range("bytes 5-9/*"), Some(ContentRange { start: Some(5), total: None }));
        assert_eq!(range("bytes */10"), Some(ContentRange { start: None, total: Some(10) }));
        assert_eq!(range("lines 5-9/10"), None);
    }

    #[test]
    fn an_address_without_http_or_a_checksum_that_is_none_is_refused() {
        for (url, digits) in [
            ("densenet.pth", "aa"),
            ("file:///etc/passwd", "aa"),
            ("https://example.org/x", "not hex"),
            ("https://example.org/x", ""),
        ] {
            assert!(
                matches!(
                    check_request(&Fetch::new(url, "x").sha256(digits)),
                    Err(DownloadError::Address { .. })
                ),
                "{url} {digits}"
            );
        }
    }

    #[test]
    fn a_signature_in_the_query_is_never_shown() {
        assert_eq!(
            Fetch::new("https://example.org/x?secret=1", "x").shown_url(),
            "https://example.org/x"
        );
    }
}
