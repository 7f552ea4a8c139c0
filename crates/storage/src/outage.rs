use std::io;

use object_store::Error;

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
fn reason(error: &dyn std::error::Error) -> String {
    const MAX_CHARACTERS: usize = 400;
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
    line.join(" ").chars().take(MAX_CHARACTERS).collect()
}

/// `None` where there is no such object.
pub(crate) fn none_if_absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
