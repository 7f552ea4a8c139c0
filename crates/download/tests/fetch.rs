//! Downloads from a server on loopback that breaks, lies and changes its mind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ossify_download::{DownloadError, Fetch, Fetched, fetch, sha256_of};
use server::{Reply, Server};
use tempfile::TempDir;

const ETAG: &str = "\"v1\"";

fn content() -> Vec<u8> {
    (0..300_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn sha256(content: &[u8]) -> String {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("content");
    fs::write(&path, content).unwrap();
    sha256_of(&path).unwrap()
}

/// A folder, the destination in it, and a request for it that does not wait long.
fn request(server: &Server) -> (TempDir, PathBuf, Fetch) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("weights/model.pth");
    let request = Fetch::new(format!("{}/model.pth", server.url), &path)
        .retries(5, Duration::from_millis(1))
        .patience(Duration::from_millis(500));
    (folder, path, request)
}

fn get(request: &Fetch) -> Result<Fetched, DownloadError> {
    fetch(request, |_, _| {})
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_comes_whole_and_nothing_else_stays() {
    let server = Server::start(|_, request| Reply::file(request, &content(), ETAG));
    let (_folder, path, request) = request(&server);
    let mut seen = Vec::new();
    let fetched =
        fetch(&request.sha256(&sha256(&content())[..8]), |done, total| seen.push((done, total)))
            .unwrap();
    assert_eq!(fs::read(&path).unwrap(), content());
    assert_eq!((fetched.bytes, fetched.kept_bytes), (1_200_000, 0));
    assert_eq!(fetched.sha256, sha256(&content()));
    assert_eq!(names(path.parent().unwrap()), ["model.pth"]);
    assert_eq!(seen.last(), Some(&(1_200_000, Some(1_200_000))));
    assert!(seen.is_sorted());
}

#[test]
fn a_file_that_is_there_is_not_fetched_again() {
    let server = Server::start(|_, request| Reply::file(request, &content(), ETAG));
    let (_folder, path, request) = request(&server);
    let request = request.sha256(sha256(&content()));
    get(&request).unwrap();
    assert_eq!(get(&request).unwrap().kept_bytes, 1_200_000);
    assert_eq!(server.requests().len(), 1);
    fs::write(&path, "something else").unwrap();
    get(&request).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content());
}

#[test]
fn broken_connections_are_taken_up_where_they_stopped() {
    let server = Server::start(|number, request| {
        let reply = Reply::file(request, &content(), ETAG);
        if number < 9 { reply.cut_after(130_000) } else { reply }
    });
    let (_folder, path, request) = request(&server);
    get(&request).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content());
    let requests = server.requests();
    assert_eq!(requests.len(), 10, "each connection brings 130,000 bytes of 1,200,000");
    assert_eq!(requests[0].range_start(), None);
    assert_eq!(requests[1].header("range"), Some("bytes=130000-"));
    assert_eq!(requests[1].header("if-range"), Some(ETAG));
}

#[test]
fn a_download_of_an_earlier_run_is_taken_up() {
    let server = Server::start(|number, request| {
        if number == 0 {
            Reply::file(request, &content(), ETAG).cut_after(500_000)
        } else {
            Reply::file(request, &content(), ETAG)
        }
    });
    let (_folder, path, request) = request(&server);
    let error = get(&request.clone().retries(0, Duration::ZERO)).unwrap_err();
    assert!(matches!(error, DownloadError::Unreachable { .. }), "{error}");
    assert_eq!(names(path.parent().unwrap()), ["model.pth.part", "model.pth.part.etag"]);
    let fetched = get(&request.sha256(sha256(&content()))).unwrap();
    assert_eq!(fetched.kept_bytes, 500_000);
    assert_eq!(fs::read(&path).unwrap(), content());
    assert_eq!(names(path.parent().unwrap()), ["model.pth"]);
}

#[test]
fn a_server_that_ignores_ranges_is_read_from_the_start() {
    let server = Server::start(|number, _| {
        if number == 0 {
            Reply::new(200, &content()).cut_after(500_000)
        } else {
            Reply::new(200, &content())
        }
    });
    let (_folder, path, request) = request(&server);
    assert_eq!(get(&request).unwrap().kept_bytes, 0);
    assert_eq!(fs::read(&path).unwrap(), content());
}

#[test]
fn a_file_that_changed_between_two_runs_is_read_from_the_start() {
    let newer: Vec<u8> = content().into_iter().rev().collect();
    let expected = newer.clone();
    let server = Server::start(move |number, request| {
        if number == 0 {
            Reply::file(request, &content(), ETAG).cut_after(500_000)
        } else {
            Reply::file(request, &newer, "\"v2\"")
        }
    });
    let (_folder, path, request) = request(&server);
    get(&request).unwrap();
    assert_eq!(fs::read(&path).unwrap(), expected);
}

#[test]
fn a_changed_file_behind_a_server_that_ignores_if_range_is_noticed() {
    let newer: Vec<u8> = content().into_iter().rev().collect();
    let expected = newer.clone();
    let server = Server::start(move |number, request| {
        let mut request = request.clone();
        request.headers.remove("if-range");
        if number == 0 {
            Reply::file(&request, &content(), ETAG).cut_after(500_000)
        } else {
            Reply::file(&request, &newer, "\"v2\"")
        }
    });
    let (_folder, path, request) = request(&server);
    get(&request).unwrap();
    assert_eq!(fs::read(&path).unwrap(), expected);
}

#[test]
fn a_part_of_an_unknown_file_is_given_up_when_the_checksum_differs() {
    let server = Server::start(|_, request| Reply::file(request, &content(), ETAG));
    let (_folder, path, request) = request(&server);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path.with_file_name("model.pth.part"), vec![7; 1000]).unwrap();
    get(&request.sha256(sha256(&content()))).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content());
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_part_that_is_already_whole_is_published() {
    let server = Server::start(|_, request| Reply::file(request, &content(), ETAG));
    let (_folder, path, request) = request(&server);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path.with_file_name("model.pth.part"), content()).unwrap();
    assert_eq!(get(&request).unwrap().kept_bytes, 1_200_000);
    assert_eq!(fs::read(&path).unwrap(), content());
}

#[test]
fn a_wrong_checksum_removes_the_file_and_names_both_sums() {
    let server = Server::start(|_, request| Reply::file(request, &content(), ETAG));
    let (_folder, path, request) = request(&server);
    let error = get(&request.sha256("a639ec97")).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, DownloadError::ChecksumMismatch { .. }), "{text}");
    assert!(text.contains("a639ec97") && text.contains(&sha256(&content())), "{text}");
    assert!(names(path.parent().unwrap()).is_empty());
}

#[test]
fn a_wrong_size_is_told_before_the_content_is_read() {
    let server = Server::start(|_, request| Reply::file(request, &content(), ETAG));
    let (_folder, path, request) = request(&server);
    let error = get(&request.bytes(5)).unwrap_err();
    assert!(
        matches!(error, DownloadError::SizeMismatch { expected: 5, found: 1_200_000, .. }),
        "{error}"
    );
    assert!(names(path.parent().unwrap()).is_empty());
}

#[test]
fn a_body_longer_than_expected_is_stopped() {
    let server =
        Server::start(|_, _| Reply { without_length: true, ..Reply::new(200, &content()) });
    let (_folder, path, request) = request(&server);
    let error = get(&request.bytes(400_000)).unwrap_err();
    assert!(matches!(error, DownloadError::SizeMismatch { expected: 400_000, .. }), "{error}");
    assert!(names(path.parent().unwrap()).is_empty());
}

#[test]
fn refusals_are_told_at_once_and_leave_nothing() {
    for (status, word) in
        [(401, "key"), (403, "key"), (404, "no such file"), (410, "no such file"), (418, "418")]
    {
        let server = Server::start(move |_, _| Reply::new(status, b"go away"));
        let (_folder, path, request) = request(&server);
        let error = get(&request).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains(&server.url), "{error}");
        assert_eq!(server.requests().len(), 1, "{status}");
        assert!(names(path.parent().unwrap()).is_empty());
    }
}

#[test]
fn a_busy_server_is_asked_again() {
    let server = Server::start(|number, request| match number {
        0 => Reply::new(503, b"").header("Retry-After", "0"),
        1 => Reply::new(429, b"").header("Retry-After", "0"),
        _ => Reply::file(request, b"at last", ETAG),
    });
    let (_folder, path, request) = request(&server);
    get(&request).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"at last");
}

#[test]
fn a_server_that_is_always_busy_is_left_after_the_retries() {
    let server = Server::start(|_, _| Reply::new(500, b""));
    let (_folder, _path, request) = request(&server);
    assert!(matches!(get(&request), Err(DownloadError::Status { status: 500, .. })));
    assert_eq!(server.requests().len(), 6);
}

#[test]
fn a_redirect_is_followed_without_the_key_and_with_the_range() {
    let storage = Server::start(|number, request| {
        let reply = Reply::file(request, &content(), ETAG);
        if number == 0 { reply.cut_after(500_000) } else { reply }
    });
    let signed = format!("{}/signed?x=1", storage.url);
    let front = Server::start(move |_, _| Reply::new(302, b"").header("Location", signed.clone()));
    let (_folder, path, request) = request(&front);
    get(&request.header("Authorization", "Basic secret")).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content());
    assert_eq!(front.requests()[1].header("authorization"), Some("Basic secret"));
    let stored = storage.requests();
    assert_eq!(stored[0].path, "/signed?x=1");
    assert!(stored.iter().all(|request| request.header("authorization").is_none()));
    assert_eq!(stored[1].range_start(), Some(500_000));
}

#[test]
fn a_connection_that_goes_silent_counts_as_broken() {
    let server = Server::start(|number, request| {
        let reply = Reply::file(request, &content(), ETAG);
        if number == 0 {
            Reply { stall: Some(Duration::from_secs(2)), ..reply.cut_after(500_000) }
        } else {
            reply
        }
    });
    let (_folder, path, request) = request(&server);
    get(&request.patience(Duration::from_secs(1))).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content());
}

#[test]
fn without_a_server_the_error_says_so_soon() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = TempDir::new().unwrap();
    let start = Instant::now();
    let request = Fetch::new(format!("http://{closed}/x"), folder.path().join("x"))
        .retries(5, Duration::from_millis(1));
    let error = get(&request).unwrap_err().to_string();
    assert!(error.contains(&closed.to_string()) && error.contains("check the network"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(names(folder.path()).is_empty());
}

#[test]
fn two_downloads_of_one_file_do_not_mix() {
    let server = Server::start(|_, request| Reply {
        stall: Some(Duration::from_millis(300)),
        ..Reply::file(request, &content(), ETAG)
    });
    let (_folder, path, request) = request(&server);
    let request = request.patience(Duration::from_secs(5));
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| get(&request));
        std::thread::sleep(Duration::from_millis(100));
        let second = get(&request);
        (first.join().unwrap(), second)
    });
    assert!(first.is_ok() || second.is_ok());
    for outcome in [first, second] {
        assert!(matches!(outcome, Ok(_) | Err(DownloadError::Busy { .. })), "{outcome:?}");
    }
    assert_eq!(fs::read(&path).unwrap(), content());
}

#[test]
fn a_part_that_is_not_a_regular_file_is_refused() {
    let server = Server::start(|_, request| Reply::file(request, &content(), ETAG));
    let folder = TempDir::new().unwrap();
    std::os::unix::fs::symlink("/dev/null", folder.path().join("x.part")).unwrap();
    let error = get(&Fetch::new(&server.url, folder.path().join("x"))).unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
}

#[test]
fn a_server_that_sends_without_end_is_left() {
    let server = Server::start(|_, _| {
        let mut reply = Reply::new(200, &content());
        reply.without_length = true;
        reply
    });
    let (_folder, path, request) = request(&server);
    let error = get(&request.clone().max_bytes(500_000)).unwrap_err();
    assert!(matches!(error, DownloadError::TooLong { max_bytes: 500_000, .. }), "{error}");
    assert!(names(path.parent().unwrap()).is_empty());
    get(&request.max_bytes(1_200_000)).unwrap();

    let server = Server::start(|_, request| Reply::file(request, &content(), ETAG));
    let (_folder, _, request) = self::request(&server);
    let error = get(&request.max_bytes(500_000)).unwrap_err();
    assert!(matches!(error, DownloadError::TooLong { .. }), "{error}");
}

#[test]
fn a_page_for_people_is_not_the_file() {
    let server = Server::start(|_, _| {
        Reply::new(200, b"<html>Please log in</html>")
            .header("Content-Type", "Text/HTML; charset=utf-8")
    });
    let (_folder, path, request) = request(&server);
    let error = get(&request).unwrap_err();
    assert!(matches!(error, DownloadError::Page { .. }), "{error}");
    assert_eq!(server.requests().len(), 1);
    assert!(names(path.parent().unwrap()).is_empty());
}

#[test]
fn links_and_devices_are_neither_replaced_nor_followed() {
    let server = Server::start(|_, request| Reply::file(request, &content(), ETAG));
    let (folder, path, request) = request(&server);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let other = folder.path().join("other");
    fs::write(&other, "mine").unwrap();
    let beside = |suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
    let request = request.sha256(sha256(&content()));
    for target in [other.as_path(), Path::new("/dev/null"), Path::new("nowhere")] {
        std::os::unix::fs::symlink(target, &path).unwrap();
        let error = get(&request).unwrap_err();
        assert!(matches!(error, DownloadError::NotAFile { .. }), "{error}");
        assert!(path.is_symlink());
        fs::remove_file(&path).unwrap();
    }
    std::os::unix::fs::symlink(&other, beside(".part")).unwrap();
    let error = get(&request).unwrap_err();
    assert!(matches!(error, DownloadError::NotAFile { .. }), "{error}");
    fs::remove_file(beside(".part")).unwrap();
    std::os::unix::fs::symlink(&other, beside(".part.etag")).unwrap();
    get(&request).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content());
    assert_eq!(fs::read_to_string(&other).unwrap(), "mine");
    // A link to the right content is as good as the file.
    let link = folder.path().join("link.pth");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let request = Fetch::new(format!("{}/model.pth", server.url), &link).sha256(sha256(&content()));
    assert_eq!(get(&request).unwrap().kept_bytes, 1_200_000);
}

#[test]
fn an_empty_answer_is_not_a_file() {
    for without_length in [false, true] {
        let server = Server::start(move |_, _| Reply { without_length, ..Reply::new(200, b"") });
        let (_folder, path, request) = request(&server);
        let error = get(&request).unwrap_err();
        assert!(matches!(error, DownloadError::Empty { .. }), "{error}");
        assert_eq!(server.requests().len(), 1);
        assert!(names(path.parent().unwrap()).is_empty());
        get(&request.bytes(0)).unwrap();
    }
}

#[test]
fn a_page_that_says_that_it_is_a_file_has_another_digest() {
    let page = b"<!DOCTYPE html><html>Please log in</html>";
    let server = Server::start(move |_, request| Reply::file(request, page, ETAG));
    let (_folder, path, request) = request(&server);
    let error = get(&request.sha256("a639ec97")).unwrap_err();
    assert!(matches!(error, DownloadError::ChecksumMismatch { .. }), "{error}");
    assert!(names(path.parent().unwrap()).is_empty());
}

#[test]
fn more_than_was_announced_is_not_taken() {
    let server =
        Server::start(|_, _| Reply { announced: Some(1000), ..Reply::new(200, &content()) });
    let (_folder, path, request) = request(&server);
    let digest = sha256(&content()[..1000]);
    assert_eq!(get(&request.sha256(digest)).unwrap().bytes, 1000);
    assert_eq!(fs::read(&path).unwrap(), &content()[..1000]);

    // A rest that is longer than the range that it is said to be.
    let server = Server::start(|number, request| match number {
        0 => Reply::file(request, &content(), ETAG).cut_after(500_000),
        _ => {
            let mut reply = Reply::file(request, &content(), ETAG);
            reply.body.extend([0; 5000]);
            reply.without_length = true;
            reply
        }
    });
    let (_folder, path, request) = self::request(&server);
    let error = get(&request).unwrap_err();
    assert!(matches!(error, DownloadError::SizeMismatch { expected: 1_200_000, .. }), "{error}");
    assert!(names(path.parent().unwrap()).is_empty());
}

#[test]
fn addresses_that_lead_on_without_end_are_left() {
    let server =
        Server::start(|number, _| Reply::new(302, b"").header("Location", format!("/{number}")));
    let (_folder, path, request) = request(&server);
    let error = get(&request).unwrap_err().to_string();
    assert!(error.contains("from one address to the next without end"), "{error}");
    assert!(server.requests().len() < 20, "{}", server.requests().len());
    assert!(names(path.parent().unwrap()).is_empty());
}

#[test]
fn a_server_that_sends_a_byte_now_and_then_is_left() {
    let server = Server::start(|_, _| Reply {
        announced: Some(1_200_000),
        drip: Some(Duration::from_millis(20)),
        ..Reply::new(200, b"x")
    });
    let (_folder, _, request) = request(&server);
    let start = Instant::now();
    let request = request.patience(Duration::from_millis(200)).retries(2, Duration::from_millis(1));
    let error = get(&request).unwrap_err().to_string();
    assert!(error.contains("bytes came in 0.2 s"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn what_is_not_http_is_said_so() {
    for answer in [&b"220 mail.example.org ESMTP\r\n"[..], b"\x16\x03\x01", b""] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
                let _ = std::io::Write::write_all(&mut stream, answer);
            }
        });
        let folder = TempDir::new().unwrap();
        let request = Fetch::new(url, folder.path().join("x")).retries(1, Duration::from_millis(1));
        let error = get(&request).unwrap_err().to_string();
        assert!(error.starts_with("cannot reach 127.0.0.1:"), "{error}");
        assert!(!error.contains("io:") && !error.contains("protocol:"), "{error}");
        assert!(names(folder.path()).is_empty());
    }
}
