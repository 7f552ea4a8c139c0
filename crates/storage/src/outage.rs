use std::io;

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

use crate::requests::requests;

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

/// An error that [`is_outage`] recognises.
pub(crate) fn outage(message: String) -> io::Error {
    io::Error::other(Outage(message))
}

/// What the client says of a request for `url`.
pub(crate) fn io_error(url: &str, error: Error) -> io::Error {
    match error {
        Error::NotFound { .. } => {
            io::Error::new(io::ErrorKind::NotFound, format!("there is no {url}"))
        }
        Error::Precondition { .. } => {
            outage(format!("{url} was replaced while it was read; run again"))
        }
        error => refusal("give", url, &error),
    }
}

/// What the client says of a request that writes `url`: where it finds nothing, that is the bucket.
pub(crate) fn write_error(url: &str, bucket: &str, error: Error) -> io::Error {
    match error {
        Error::NotFound { .. } => outage(format!(
            "the object store did not take {url}: there is no bucket {bucket}; create it, or name \
             another work folder with --out"
        )),
        error => refusal("take", url, &error),
    }
}

/// `give` or `take` is what the store did not.
fn refusal(verb: &str, url: &str, error: &Error) -> io::Error {
    let is_refusal =
        matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. });
    let hint = if is_refusal {
        "; look at the credentials in the environment (see docs/scale.md)"
    } else {
        ""
    };
    outage(format!("the object store did not {verb} {url}: {}{hint}", reason(error)))
}

/// The last cause, which names what happened, in one line.
fn reason(error: &Error) -> String {
    use std::error::Error as _;

    const MAX_CHARACTERS: usize = 400;
    let mut causes = vec![error.to_string()];
    let mut source = error.source();
    if matches!(error, Error::Generic { .. }) {
        causes.clear();
    }
    while let Some(cause) = source {
        let http = cause.downcast_ref::<HttpError>();
        if http.is_some_and(|http| http.kind() == HttpErrorKind::Timeout) {
            let seconds = requests().timeout.as_secs();
            return format!("no whole answer in {seconds} s; storage.timeout_s allows more");
        }
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
    let line: String = in_words(&line.join(" ")).chars().take(MAX_CHARACTERS).collect();
    let known = FOREIGN_ANSWERS.iter().find(|(theirs, _)| line.contains(theirs));
    known.map_or(line, |(_, ours)| {
        format!("{ours}; is this the address of an object store, and is a proxy in between?")
    })
}

/// What the client says of an answer with a status of failure: the status, and of a body in XML its
/// code and message.
fn in_words(line: &str) -> String {
    if line.starts_with("Received redirect without LOCATION") {
        return "it answered that the bucket is elsewhere; does AWS_REGION name its region?".into();
    }
    let (status, body) =
        if let Some(answer) = line.strip_prefix("Server returned non-2xx status code: ") {
            answer.split_once(": ").unwrap_or((answer.trim_end_matches(':'), ""))
        } else if let Some(body) = line.strip_prefix("Server returned error response: ") {
            ("an error", body)
        } else {
            return line.to_owned();
        };
    let element = |name: &str| {
        let (_, rest) = body.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.trim())
    };
    match (element("Code"), element("Message")) {
        (Some(code), Some(message)) => format!("it answered {status} ({code}: {message})"),
        (Some(said), None) | (None, Some(said)) => format!("it answered {status} ({said})"),
        (None, None) if body.is_empty() => format!("it answered {status}"),
        (None, None) => format!("it answered {status} ({body})"),
    }
}

/// What the client says of answers that no object store gives, and what that means.
const FOREIGN_ANSWERS: [(&str, &str); 4] = [
    ("Received non-partial response", "the answer is not the part of it that was asked for"),
    ("Content-Length Header missing", "the answer does not say how long it is"),
    ("Content-Range header not present", "the answer does not say which part of it it is"),
    ("ETag Header missing", "the answer does not name the version of what was written"),
];

/// `None` where there is no such object.
pub(crate) fn none_if_absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_failure_is_said_in_words() {
        let body = "<?xml version=\"1.0\"?><Error><Code>NoSuchUpload</Code><Message>It is gone. \
                    </Message><RequestId>1</RequestId></Error>";
        for (theirs, ours) in [
            (
                "Server returned non-2xx status code: 400 Bad Request:",
                "it answered 400 Bad Request",
            ),
            (
                &format!("Server returned non-2xx status code: 404 Not Found: {body}"),
                "it answered 404 Not Found (NoSuchUpload: It is gone.)",
            ),
            (
                "Server returned non-2xx status code: 502 Bad Gateway: try later: soon",
                "it answered 502 Bad Gateway (try later: soon)",
            ),
            (
                &format!("Server returned error response: {body}"),
                "it answered an error (NoSuchUpload: It is gone.)",
            ),
            ("connection refused", "connection refused"),
        ] {
            assert_eq!(in_words(theirs), ours);
        }
    }

    #[test]
    fn what_a_write_does_not_find_is_the_bucket() {
        let absent = || Error::NotFound { path: "a".into(), source: "404".into() };
        let error = write_error("s3://b/a", "s3://b", absent());
        assert!(is_outage(&error) && error.kind() != io::ErrorKind::NotFound);
        assert!(error.to_string().contains("there is no bucket s3://b; create it"), "{error}");
        assert_eq!(io_error("s3://b/a", absent()).kind(), io::ErrorKind::NotFound);
    }
}
