//! What every answer of a server must be before the client looks at it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService, ReqwestConnector,
};

use crate::listed_page::RefusedKeys;

/// More than any answer to our requests has: they ask for 8 MiB, or a page of a listing, at most.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Connects as the client does by default, and checks what comes back.
#[derive(Debug)]
pub(crate) struct CheckedConnector {
    connector: ReqwestConnector,
    /// Where keys of listings go that the client does not take.
    refused: Arc<RefusedKeys>,
}

impl CheckedConnector {
    pub(crate) fn new(refused: Arc<RefusedKeys>) -> Self {
        CheckedConnector { connector: ReqwestConnector::default(), refused }
    }
}

impl HttpConnector for CheckedConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = self.connector.connect(options)?;
        Ok(HttpClient::new(CheckedService { client, refused: self.refused.clone() }))
    }
}

#[derive(Debug)]
struct CheckedService {
    client: HttpClient,
    refused: Arc<RefusedKeys>,
}

#[async_trait]
impl HttpService for CheckedService {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let is_listing = is_listing(&request);
        let is_download = request.method().as_str() == "GET" && !is_listing;
        let (mut parts, body) = self.client.execute(request).await?.into_parts();
        let body = HttpResponseBody::new(Limited::new(body, MAX_ANSWER_BYTES).map_err(unlimited));
        // Of a download the client asks for the rest where the connection is cut; all else is
        // small, and read here, so that the client repeats the request.
        if is_download {
            return Ok(HttpResponse::from_parts(parts, body));
        }
        let content = body.bytes().await?;
        if is_listing && parts.status.is_success() && !is_list(&content) {
            let shown = String::from_utf8_lossy(&content[..content.len().min(60)]).into_owned();
            return Err(HttpError::new(HttpErrorKind::Decode, ForeignAnswer(shown)));
        }
        if is_listing && let Some(rest) = self.refused.take_from(&content) {
            // The length that is announced is that of the whole page.
            parts.headers.remove("content-length");
            return Ok(HttpResponse::from_parts(parts, Bytes::from(rest).into()));
        }
        Ok(HttpResponse::from_parts(parts, content.into()))
    }
}

/// Whether a request lists objects, in the dialect of any of the stores.
fn is_listing(request: &HttpRequest) -> bool {
    let query = request.uri().query().unwrap_or_default();
    request.method().as_str() == "GET"
        && query.split('&').any(|pair| matches!(pair, "list-type=2" | "comp=list"))
}

/// Whether this is a page of a listing. The client would take any other XML, and HTML, for a page
/// without objects.
fn is_list(content: &[u8]) -> bool {
    let start = String::from_utf8_lossy(&content[..content.len().min(1024)]);
    ["<ListBucketResult", "<EnumerationResults"].iter().any(|root| start.contains(root))
}

fn unlimited(error: Box<dyn std::error::Error + Send + Sync>) -> HttpError {
    match error.downcast::<HttpError>() {
        Ok(error) => *error,
        Err(_) => HttpError::new(HttpErrorKind::Decode, TooLong),
    }
}

/// Something between here and the store answered in its place, such as a proxy's login page.
#[derive(Debug)]
struct ForeignAnswer(String);

impl std::fmt::Display for ForeignAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the answer to a listing is not a list of objects but ")?;
        match self.0.as_str() {
            "" => f.write_str("is empty")?,
            start => write!(f, "begins with {start:?}")?,
        }
        f.write_str("; is this the address of an object store, and is a proxy in between?")
    }
}

impl std::error::Error for ForeignAnswer {}

#[derive(Debug)]
struct TooLong;

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the answer has more than {} MiB, and much less was asked for; is this the address of \
             an object store?",
            MAX_ANSWER_BYTES >> 20
        )
    }
}

impl std::error::Error for TooLong {}

/// Whether it is pointless to ask again, since what answers is not a store.
pub(crate) fn is_foreign_answer(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<ForeignAnswer>() || error.is::<TooLong>() {
            return true;
        }
        cause = error.source();
    }
    false
}
