//! An S3-compatible server on loopback that stores objects as files in a folder, and can fail like
//! networks and stores do.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::service::{S3Service, S3ServiceBuilder};
use tempfile::TempDir;

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The server answers 503 and does nothing.
    Unavailable,
    /// The connection is cut before the request is processed.
    CutBefore,
    /// The request is processed, and the connection is cut before the answer.
    CutAfter,
    /// The connection is cut in the middle of the answer.
    CutInAnswer,
    /// The answer is slow.
    Slow,
}

/// All faults.
pub const FAULTS: [Fault; 5] =
    [Fault::Unavailable, Fault::CutBefore, Fault::CutAfter, Fault::CutInAnswer, Fault::Slow];

type Body = BoxBody<Bytes, CutOff>;

/// The connection is cut.
#[derive(Debug)]
struct CutOff;

impl fmt::Display for CutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut off")
    }
}

impl std::error::Error for CutOff {}

/// The server, which runs until the process ends.
pub struct ObjectStore {
    folder: TempDir,
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    service: S3Service,
    /// One in this number of requests fails; 0 means none.
    one_in: AtomicU64,
    requests: AtomicU64,
    done: Mutex<Vec<(Fault, String)>>,
}

impl ObjectStore {
    /// The only bucket.
    pub const BUCKET: &'static str = "hospital";

    /// Starts the server.
    ///
    /// # Panics
    /// If no port or folder is available.
    #[allow(clippy::expect_used)]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join(Self::BUCKET)).expect("a bucket");
        let files = s3s_fs::FileSystem::new(folder.path()).expect("a store on that folder");
        let service = S3ServiceBuilder::new(files).build();
        let state = Arc::new(State {
            service,
            one_in: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            done: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads");
        let listener =
            runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("a port");
        let served = state.clone();
        std::thread::spawn(move || {
            runtime.block_on(async move {
                while let Ok((connection, _)) = listener.accept().await {
                    let state = served.clone();
                    let answer = service_fn(move |request| answer(state.clone(), request));
                    tokio::spawn(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(connection), answer),
                    );
                }
            });
        });
        ObjectStore { folder, address, state }
    }

    /// The URL of a folder in the bucket.
    pub fn url(&self, folder: &str) -> PathBuf {
        PathBuf::from(format!("s3://{}/{folder}", Self::BUCKET))
    }

    /// The local folder with the objects of a folder.
    pub fn folder(&self, folder: &str) -> PathBuf {
        self.folder.path().join(Self::BUCKET).join(folder)
    }

    /// From now on, one in `requests` requests fails, with each kind of fault in turn; 0 means
    /// none.
    pub fn fail_one_in(&self, requests: u64) {
        self.state.one_in.store(requests, Ordering::SeqCst);
    }

    /// The faults so far, each with its request.
    pub fn faults(&self) -> Vec<(Fault, String)> {
        self.state.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of requests so far.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Configures a program to use the store.
    pub fn configure(&self, command: &mut Command) {
        configure(command, self.address);
    }
}

/// Configures a program to use the store at this address.
pub(crate) fn configure(command: &mut Command, address: SocketAddr) {
    command
        .env("AWS_ENDPOINT", format!("http://{address}"))
        .env("AWS_ALLOW_HTTP", "true")
        .env("AWS_SKIP_SIGNATURE", "true")
        .env("AWS_REGION", "here")
        .env_remove("AWS_PROFILE");
}

/// Copies a folder recursively.
///
/// # Errors
/// If the disk fails.
pub fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, CutOff> {
    let number = state.requests.fetch_add(1, Ordering::SeqCst) + 1;
    let one_in = state.one_in.load(Ordering::SeqCst);
    let fault = (one_in > 0 && number.is_multiple_of(one_in))
        .then(|| FAULTS[(number / one_in) as usize % FAULTS.len()]);
    if let Some(fault) = fault {
        let what = format!("{} {}", request.method(), request.uri());
        state.done.lock().unwrap_or_else(PoisonError::into_inner).push((fault, what));
    }
    match fault {
        Some(Fault::Unavailable) => {
            let empty = Full::new(Bytes::new()).map_err(|never: Infallible| match never {}).boxed();
            let mut response = Response::new(empty);
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return Ok(response);
        }
        Some(Fault::CutBefore) => return Err(CutOff),
        Some(Fault::Slow) => tokio::time::sleep(Duration::from_millis(300)).await,
        _ => {}
    }
    let answer =
        hyper::service::Service::call(&state.service, request).await.map_err(|_| CutOff)?;
    let (parts, body) = answer.into_parts();
    match fault {
        Some(Fault::CutAfter) => Err(CutOff),
        Some(Fault::CutInAnswer) => {
            let whole = body.collect().await.map_err(|_| CutOff)?.to_bytes();
            let half = whole.slice(..whole.len() / 2);
            let frames = [Ok(Frame::data(half)), Err(CutOff)];
            Ok(Response::from_parts(
                parts,
                http_body_util::BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames))),
            ))
        }
        _ => Ok(Response::from_parts(
            parts,
            http_body_util::BodyExt::boxed(body.map_err(|_| CutOff)),
        )),
    }
}
