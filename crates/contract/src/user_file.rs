use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use crate::error::{ArtefactError, Result};
use crate::publish::sync_dir;

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
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)?;
    file.write_all(content)?;
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions)?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_dir(folder).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

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
