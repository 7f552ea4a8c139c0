use std::path::{Path, PathBuf};

/// Why a download did not end well. Each variant says what a person can do.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// No answer from the server: offline, no such host, refused, or the connection broke again and
    /// again.
    #[error(
        "cannot reach {host} ({reason}); check the network, the proxy settings and that the \
        address is right, then run again: what is already here is kept"
    )]
    Unreachable {
        /// Host of the address.
        host: String,
        /// What the network said.
        reason: String,
    },
    /// The server's certificate was not accepted.
    #[error(
        "{host} showed a certificate that is not trusted ({reason}); behind a proxy that opens \
        TLS, name its certificates with SSL_CERT_FILE"
    )]
    Certificate {
        /// Host of the address.
        host: String,
        /// What TLS said.
        reason: String,
    },
    /// 401 or 403.
    #[error(
        "{url}: the server refuses access (HTTP {status}); check the key, and that its owner may \
        see this file"
    )]
    Denied {
        /// The address, without its query.
        url: String,
        /// 401 or 403.
        status: u16,
    },
    /// 404 or 410.
    #[error(
        "{url}: there is no such file (HTTP {status}); check the address, or whether it has moved"
    )]
    NotFound {
        /// The address, without its query.
        url: String,
        /// 404 or 410.
        status: u16,
    },
    /// Another status that is not success, after the retries that it deserves.
    #[error("{url}: the server answers HTTP {status}; try again later")]
    Status {
        /// The address, without its query.
        url: String,
        /// The status.
        status: u16,
    },
    /// The address cannot be used.
    #[error("`{url}` is not an address to fetch from: {reason}")]
    Address {
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A variable of the environment is not text.
    #[error("the value of the environment variable {name} is not UTF-8; set it again, or unset it")]
    NotUtf8 {
        /// Its name.
        name: String,
    },
    /// The content is not the expected one. It was removed.
    #[error(
        "{url}: SHA-256 is {found}, and {expected} was expected; the file was removed. Run again; \
        if it stays so, the file was changed at its source, or on the way"
    )]
    ChecksumMismatch {
        /// The address, without its query.
        url: String,
        /// Full digest or its first digits.
        expected: String,
        /// Digest of what came.
        found: String,
    },
    /// The content has another length than expected. It was removed.
    #[error(
        "{url}: has {found} bytes, and {expected} were expected; the file was changed at its \
        source, or on the way"
    )]
    SizeMismatch {
        /// The address, without its query.
        url: String,
        /// As asked for.
        expected: u64,
        /// As the server says, or as they came.
        found: u64,
    },
    /// More came, or is to come, than any file of this kind has. It was removed.
    #[error(
        "{url}: is longer than {max_bytes} bytes, which no such file is; check the address, or \
         whether the server sends without end"
    )]
    TooLong {
        /// The address, without its query.
        url: String,
        /// The most that is fetched.
        max_bytes: u64,
    },
    /// The answer has no content.
    #[error(
        "{url}: the server sends an empty file; check the address, and whether a proxy answers in \
         its place"
    )]
    Empty {
        /// The address, without its query.
        url: String,
    },
    /// The server answers with a page for people.
    #[error(
        "{url}: the server sends a page ({content_type}) and not the file; a login, a licence or \
         a proxy may stand before it: open the address in a browser"
    )]
    Page {
        /// The address, without its query.
        url: String,
        /// The answer's `Content-Type`.
        content_type: String,
    },
    /// The destination is a link, a device or a folder.
    #[error(
        "{} is not a regular file, and is not replaced; remove it, or name another file",
        path.display()
    )]
    NotAFile {
        /// The destination, or the unfinished file beside it.
        path: PathBuf,
    },
    /// Another process writes the same file.
    #[error("{} is being downloaded by another process; wait for it to end, then run \
        again", path.display())]
    Busy {
        /// The unfinished file.
        path: PathBuf,
    },
    /// The disk said no.
    #[error("{action} {}: {}", path.display(), disk_reason(source))]
    Disk {
        /// What was tried, as in "cannot write".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

impl DownloadError {
    pub(crate) fn disk(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| DownloadError::Disk { action, path: path.to_path_buf(), source }
    }
}

pub(crate) fn disk_reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::StorageFull => "the disk is full; free some space, then run again: \
            what is already here is kept"
            .into(),
        std::io::ErrorKind::QuotaExceeded => "the disk quota is used up; free some space, then \
            run again: what is already here is kept"
            .into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_as_one() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let text = DownloadError::disk("cannot write", Path::new("weights.part"))(full).to_string();
        assert_eq!(
            text,
            "cannot write weights.part: the disk is full; free some space, then run again: what \
            is already here is kept"
        );
    }
}
