use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use crate::error::{ArtefactError, Result};
use crate::publish::sync_dir;

/// Bytes that a text file which a person wrote has at most.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// Why a text file that a person wrote cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The file cannot be read.
    #[error("cannot read the {what} {}: {source}", path.display())]
    Unreadable {
        /// What the file is.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is larger than anything a person writes.
    #[error(
        "the {what} {} has more than {} bytes; is it the right file?",
        path.display(),
        MAX_TEXT_BYTES
    )]
    TooLarge {
        /// What the file is.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The file is not UTF-8.
    #[error(
        "{}:{line}:{column}: the byte 0x{byte:02x} is not UTF-8; save the {what} as UTF-8",
        path.display()
    )]
    NotUtf8 {
        /// What the file is.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Line of the first byte that is not UTF-8, from 1.
        line: usize,
        /// Its column, from 1, in characters.
        column: usize,
        /// The byte.
        byte: u8,
    },
}

/// Reads a text file that a person wrote, which is `what`: UTF-8, up to 1 MiB.
///
/// # Errors
/// See [`TextError`].
pub fn read_user_text(path: &Path, what: &'static str) -> std::result::Result<String, TextError> {
    let path_buf = || path.to_path_buf();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|source| TextError::Unreadable { what, path: path_buf(), source })?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(TextError::TooLarge { what, path: path_buf() });
    }
    user_text(path, what, bytes)
}

/// The content of a text file that a person wrote, which is `what`.
///
/// # Errors
/// [`TextError::NotUtf8`].
pub fn user_text(
    path: &Path,
    what: &'static str,
    content: Vec<u8>,
) -> std::result::Result<String, TextError> {
    String::from_utf8(content).map_err(|error| {
        let (before, rest) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
        let before = String::from_utf8_lossy(before);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        TextError::NotUtf8 {
            what,
            path: path.to_path_buf(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            byte: rest.first().copied().unwrap_or_default(),
        }
    })
}

/// Writes a file that a person named, outside the work folder.
///
/// A regular file, or the one that a link leads to, is replaced in one step and keeps its
/// permissions: a reader sees the old content or the new. Pipes and character devices are written
/// to as they are. The temporary file has a name of its own and is never opened through a link.
///
/// # Errors
/// Fails where the disk or the reader of a pipe does; and refuses folders, sockets, block devices
/// and links that lead nowhere.
pub fn write_user_file(path: &Path, content: &[u8]) -> Result<()> {
    write(path, content).map_err(ArtefactError::io("cannot write", path))
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let refuse = |reason: &str| Err(io::Error::other(reason.to_owned()));
    let permissions = match fs::metadata(path) {
        Ok(found) if found.is_file() => {
            return replace(&path.canonicalize()?, content, Some(found.permissions()));
        }
        Ok(found) if found.file_type().is_fifo() || found.file_type().is_char_device() => {
            let mut stream = File::options().write(true).open(path)?;
            stream.write_all(content)?;
            return stream.flush();
        }
        Ok(found) if found.is_dir() => return refuse("it is a folder; name a file in it"),
        Ok(_) => return refuse("it is neither a file nor a pipe; name another file"),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) if path.symlink_metadata().is_ok() => {
            return refuse("it is a link to a file that does not exist; remove the link");
        }
        Err(_) => None,
    };
    replace(path, content, permissions)
}

fn replace(path: &Path, content: &[u8], permissions: Option<Permissions>) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    // A temporary file is for its owner alone; this one is for whoever the umask lets read.
    let mut file = tempfile::Builder::new()
        .prefix(".ossify-")
        .suffix(".tmp")
        .make_in(folder, |path| File::create_new(path))?;
    file.as_file_mut().write_all(content)?;
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions)?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_dir(folder).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn links_and_permissions_stay_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "old").unwrap();
        fs::set_permissions(&target, Permissions::from_mode(0o600)).unwrap();
        symlink(&target, &link).unwrap();
        write_user_file(&link, b"new").unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        write_user_file(&folder.path().join("more/file"), b"made").unwrap();
        assert_eq!(fs::read(folder.path().join("more/file")).unwrap(), b"made");
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_with_its_location_and_text_without_end_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        let read = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            read_user_text(&path, "conf file").map_err(|e| e.to_string())
        };
        assert_eq!(read("é\n".as_bytes()), Ok("é\n".to_owned()));
        let expected = "x.toml:2:5: the byte 0xe9 is not UTF-8; save the conf file as UTF-8";
        assert!(read(b"a\n# \xc3\xa9 \xe9\n").unwrap_err().ends_with(expected));
        assert!(read(b"\xff\xfea\0").unwrap_err().contains("x.toml:1:1: the byte 0xff"));
        assert!(read(&vec![b' '; MAX_TEXT_BYTES as usize]).is_ok());
        assert!(read(&vec![b' '; MAX_TEXT_BYTES as usize + 1]).is_err());
        let error = read_user_text(Path::new("/dev/zero"), "query").unwrap_err().to_string();
        assert!(error.starts_with("the query /dev/zero has more than 1048576 bytes"), "{error}");
    }

    #[test]
    fn devices_are_written_to_and_an_error_of_theirs_is_one() {
        write_user_file(Path::new("/dev/null"), b"x").unwrap();
        let error = write_user_file(Path::new("/dev/full"), b"x").unwrap_err().to_string();
        assert!(error.starts_with("cannot write /dev/full"), "{error}");
        for device in ["/dev/null", "/dev/full"] {
            assert!(fs::metadata(device).unwrap().file_type().is_char_device());
        }
    }

    #[test]
    fn a_link_that_leads_nowhere_and_a_folder_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        symlink(folder.path().join("planted"), &link).unwrap();
        let error = write_user_file(&link, b"x").unwrap_err().to_string();
        assert!(error.contains("a link to a file that does not exist"), "{error}");
        assert!(!folder.path().join("planted").exists());
        let error = write_user_file(folder.path(), b"x").unwrap_err().to_string();
        assert!(error.contains("it is a folder"), "{error}");
    }
}
