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
        error => {
            let is_refusal =
                matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. });
            let hint = if is_refusal {
                "; look at the credentials in the environment (see docs/scale.md)"
            } else {
                ""
            };
            outage(format!("the object store did not give {url}: {}{hint}", reason(&error)))
        }
    }
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
    let line: String = line.join(" ").chars().take(MAX_CHARACTERS).collect();
    let known = FOREIGN_ANSWERS.iter().find(|(theirs, _)| line.contains(theirs));
    known.map_or(line, |(_, ours)| {
        format!("{ours}; is this the address of an object store, and is a proxy in between?")
    })
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
