use std::io;
use std::path::{Component, Path, PathBuf};

/// Schemes of the object stores that are known, with what stands behind them in a URL.
pub(crate) const KNOWN: &str = "s3://bucket/..., gs://bucket/..., az://container/... and \
                                abfss://container@account.dfs.core.windows.net/...";

/// The same with their other spellings.
const SCHEMES: [&str; 8] = ["s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss"];

/// Where an object, or a folder of them, lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Scheme and bucket, as in `s3://bucket`.
    pub(crate) store: String,
    /// Path in the bucket, without `.` and `..`; empty for all of it.
    pub(crate) key: String,
}

impl Address {
    /// The address in a path that is a URL.
    ///
    /// # Errors
    /// `InvalidInput` where it names no bucket or leads out of it.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let invalid = |reason: &str| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{} {reason}; known are {KNOWN}", path.display()),
            )
        };
        let text = path.to_str().ok_or_else(|| invalid("is not UTF-8"))?;
        let (scheme, rest) = split(text).ok_or_else(|| invalid("is not a URL"))?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(invalid("names no bucket"));
        }
        let mut parts: Vec<&str> = Vec::new();
        for part in key.split('/').filter(|part| !matches!(*part, "" | ".")) {
            match part {
                ".." => drop(parts.pop().ok_or_else(|| invalid("leads out of its bucket"))?),
                part => parts.push(part),
            }
        }
        Ok(Address { store: format!("{scheme}://{bucket}"), key: parts.join("/") })
    }

    pub(crate) fn url(&self) -> PathBuf {
        url_of(&self.store, &self.key)
    }
}

pub(crate) fn url_of(store: &str, key: &str) -> PathBuf {
    if key.is_empty() { PathBuf::from(store) } else { PathBuf::from(format!("{store}/{key}")) }
}

/// Whether a path is a URL, as in `s3://bucket/folder`, and not one of this machine.
pub fn is_url(path: &Path) -> bool {
    // By far the most paths are those of files, and this is asked for each.
    let first = path.as_os_str().as_encoded_bytes().first();
    first.is_some_and(u8::is_ascii_alphabetic)
        && path.to_str().is_some_and(|text| split(text).is_some())
}

/// Whether a URL names a bucket of a store that is known. Asks no store.
///
/// # Errors
/// `InvalidInput` says what is wrong with it.
pub fn check_url(url: &Path) -> io::Result<()> {
    let address = Address::of(url)?;
    let scheme = address.store.split("://").next().unwrap_or_default();
    if SCHEMES.contains(&scheme) {
        return Ok(());
    }
    let reason = format!("{}: no object store has such a URL; known are {KNOWN}", url.display());
    Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
}

/// Refuses a path of this machine that was meant to be a URL, such as `s3:/bucket/folder`.
///
/// # Errors
/// `InvalidInput` with how a URL is written. A folder of such a name is written `./s3:/...`.
pub fn check_local(path: &Path) -> io::Result<()> {
    let scheme = path.to_str().and_then(|text| text.split_once(":/")).map(|(scheme, _)| scheme);
    if is_url(path) || !scheme.is_some_and(|scheme| SCHEMES.contains(&scheme)) {
        return Ok(());
    }
    let reason = format!("{}: a URL has two slashes; known are {KNOWN}", path.display());
    Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
}

fn split(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    (!scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        .then_some((scheme, rest))
}

/// A folder of this machine for what lies at a URL: `s3://bucket/a/b` becomes `s3/bucket/a/b`.
pub(crate) fn as_folder(address: &Address) -> PathBuf {
    let mut folder = PathBuf::new();
    let parts = address.store.split(['/', ':', '@']).chain(address.key.split('/'));
    folder.extend(
        parts.filter(|part| {
            matches!(Path::new(part).components().next(), Some(Component::Normal(_)))
        }),
    );
    folder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_paths() {
        for url in ["s3://bucket", "gs://bucket/a", "az://c/", "http://host/x"] {
            assert!(is_url(Path::new(url)), "{url}");
        }
        for path in ["", "data", "/data", "./s3:/x", "s3:/bucket", "://x", "a/b://c"] {
            assert!(!is_url(Path::new(path)), "{path}");
            assert_eq!(check_local(Path::new(path)).is_err(), path == "s3:/bucket", "{path}");
        }
    }

    #[test]
    fn keys_have_no_dots_and_stay_in_their_bucket() {
        let address =
            Address::of(&Path::new("s3://bucket/data/").join("../other/./x.jpg")).unwrap();
        assert_eq!((address.store.as_str(), address.key.as_str()), ("s3://bucket", "other/x.jpg"));
        assert_eq!(address.url(), Path::new("s3://bucket/other/x.jpg"));
        assert_eq!(Address::of(Path::new("s3://bucket")).unwrap().key, "");
        for wrong in ["s3://", "s3:///x", "s3://bucket/a/../../b"] {
            assert_eq!(
                Address::of(Path::new(wrong)).unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_url_has_a_folder_of_this_machine() {
        assert_eq!(
            as_folder(&Address::of(Path::new("s3://bucket/a/b")).unwrap()),
            Path::new("s3/bucket/a/b")
        );
        assert_eq!(
            as_folder(&Address::of(Path::new("abfss://c@account.net/a")).unwrap()),
            Path::new("abfss/c/account.net/a")
        );
    }
}
