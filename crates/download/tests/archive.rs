//! Archives that are not what they should be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use ossify_download::{ArchiveError, ArchiveLimits, extract};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const LIMITS: ArchiveLimits = ArchiveLimits { entries: 100, bytes: 1_000_000 };

fn archive(folder: &Path, entries: &[(&str, &[u8])]) -> PathBuf {
    let path = folder.join("archive.zip");
    let mut zip = ZipWriter::new(File::create(&path).unwrap());
    for (name, content) in entries {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap();
    path
}

fn refusal(archive: &Path, folder: &Path) -> String {
    let target = folder.join("out");
    let error = extract(archive, &target, LIMITS, |_, _| {}).unwrap_err();
    assert!(matches!(error, ArchiveError::Refused { .. }), "{error}");
    assert!(!target.exists(), "nothing is written before all entries were looked at");
    error.to_string()
}

#[test]
fn honest_entries_are_unpacked() {
    let folder = TempDir::new().unwrap();
    let path = archive(folder.path(), &[("a/b.txt", b"one"), ("./c.txt", b"two")]);
    assert_eq!(extract(&path, &folder.path().join("out"), LIMITS, |_, _| {}).unwrap(), 2);
    assert_eq!(fs::read(folder.path().join("out/a/b.txt")).unwrap(), b"one");
    assert_eq!(fs::read(folder.path().join("out/c.txt")).unwrap(), b"two");
}

#[test]
fn entries_that_leave_the_folder_are_refused() {
    for name in
        ["../evil", "a/../../evil", "/etc/evil", "C:/evil", "..\\evil", "a/b\\..\\..\\c", "."]
    {
        let folder = TempDir::new().unwrap();
        let path = archive(folder.path(), &[("good", b"x"), (name, b"x")]);
        let error = refusal(&path, folder.path());
        assert!(error.contains(&name.escape_debug().to_string()), "{error}");
        assert!(!folder.path().join("evil").exists());
    }
}

#[test]
fn a_terminal_never_sees_what_an_entry_is_called_raw() {
    let folder = TempDir::new().unwrap();
    let path = archive(folder.path(), &[("../\u{1b}[2Jevil", b"x")]);
    assert!(!refusal(&path, folder.path()).contains('\u{1b}'));
}

#[test]
fn symbolic_links_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("archive.zip");
    let mut zip = ZipWriter::new(File::create(&path).unwrap());
    zip.add_symlink("link", "/etc", SimpleFileOptions::default()).unwrap();
    zip.finish().unwrap();
    assert!(refusal(&path, folder.path()).contains("symbolic link"));
}

#[test]
fn a_bomb_is_stopped_by_size_and_by_number() {
    let folder = TempDir::new().unwrap();
    let path = archive(folder.path(), &[("zeros", &vec![0; 3_000_000])]);
    assert!(path.metadata().unwrap().len() < 10_000);
    let error = extract(&path, &folder.path().join("out"), LIMITS, |_, _| {}).unwrap_err();
    assert!(matches!(error, ArchiveError::TooLarge { .. }), "{error}");
    let many: Vec<_> = (0..101).map(|n| n.to_string()).collect();
    let path = archive(
        folder.path(),
        &many.iter().map(|name| (name.as_str(), b"".as_slice())).collect::<Vec<_>>(),
    );
    let error = extract(&path, &folder.path().join("many"), LIMITS, |_, _| {}).unwrap_err();
    assert!(error.to_string().contains("more than 100 files"), "{error}");
}

#[test]
fn a_cut_archive_and_a_page_of_text_are_broken() {
    let folder = TempDir::new().unwrap();
    let path = archive(folder.path(), &[("a", &[7; 5000])]);
    let whole = fs::read(&path).unwrap();
    for content in [&whole[..whole.len() - 30], b"<html>please log in</html>", b""] {
        fs::write(&path, content).unwrap();
        let error = extract(&path, &folder.path().join("out"), LIMITS, |_, _| {}).unwrap_err();
        assert!(matches!(error, ArchiveError::Broken { .. }), "{error}");
    }
}

#[test]
fn content_that_does_not_match_its_checksum_is_broken() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("archive.zip");
    let mut zip = ZipWriter::new(File::create(&path).unwrap());
    zip.start_file(
        "a",
        SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored),
    )
    .unwrap();
    zip.write_all(b"find me in the file").unwrap();
    zip.finish().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(7).position(|window| window == b"find me").unwrap();
    bytes[at] = b'F';
    fs::write(&path, bytes).unwrap();
    assert!(matches!(
        extract(&path, &folder.path().join("out"), LIMITS, |_, _| {}),
        Err(ArchiveError::Broken { .. })
    ));
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_in_words() {
    let folder = TempDir::new().unwrap();
    let path = archive(folder.path(), &[("train/images/a.png", &[0; 300_000])]);
    let output = Command::new("sh")
        .args(["-c", "ulimit -f 16; exec \"$0\" dataset --archive \"$1\" --data data"])
        .args([Path::new(env!("CARGO_BIN_EXE_ossify-download")), &path])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("a.png") && said.contains("File too large"), "{said}");
}
