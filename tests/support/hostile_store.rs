//! A server on loopback that is taken for an object store, and is not a good one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What the server does instead of answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hostility {
    /// A listing has pages without end, all of the same objects.
    SamePages,
    /// A listing has pages without end, none of which has an object.
    EmptyPages,
    /// A page for people, with success.
    Html,
    /// Nothing, with success.
    Empty,
    /// Bytes without end, as fast as they go.
    Endless,
    /// A byte now and then, without end.
    Slow,
    /// No answer, on a connection that stays.
    Silent,
}

/// The server; it ends with the process.
pub struct HostileStore {
    address: SocketAddr,
    requests: Arc<AtomicU64>,
}

/// Where the server behaves as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Honest {
    /// Nowhere.
    Never,
    /// It lists one object, `work/tables/manifest.json` of 100 bytes, and what that is, it does not
    /// say.
    InListings,
}

impl HostileStore {
    /// Starts the server.
    ///
    /// # Panics
    /// Where no port is to be had.
    #[allow(clippy::expect_used)]
    pub fn start(hostility: Hostility, honest: Honest) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("a port");
        let requests = Arc::new(AtomicU64::new(0));
        let counted = requests.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let counted = counted.clone();
                std::thread::spawn(move || {
                    let Some(target) = read_request(&connection) else { return };
                    counted.fetch_add(1, Ordering::SeqCst);
                    // The client may well have gone.
                    let _ = answer(connection, &target, hostility, honest);
                });
            }
        });
        HostileStore { address, requests }
    }

    /// The requests so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    /// Tells a program that the store is here.
    pub fn configure(&self, command: &mut Command) {
        super::object_store::configure(command, self.address);
    }
}

fn read_request(connection: &TcpStream) -> Option<String> {
    let mut lines = BufReader::new(connection).lines();
    let target = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    while !lines.next()?.ok()?.is_empty() {}
    Some(target)
}

fn answer(
    mut connection: TcpStream,
    target: &str,
    hostility: Hostility,
    honest: Honest,
) -> std::io::Result<()> {
    let is_listing = target.contains("list-type=2");
    let send = |connection: &mut TcpStream, kind: &str, body: &str| {
        let length = body.len();
        write!(
            connection,
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: \
             {length}\r\n\r\n{body}"
        )
    };
    let manifest = "<Contents><Key>work/tables/manifest.json</Key>\
                    <LastModified>2020-01-01T00:00:00.000Z</LastModified><ETag>\"1\"</ETag>\
                    <Size>100</Size></Contents>";
    if is_listing && honest == Honest::InListings {
        let is_there = target.contains("tables");
        return send(
            &mut connection,
            "application/xml",
            &page(if is_there { manifest } else { "" }, false),
        );
    }
    // Begins as the answer should.
    let begin = |connection: &mut TcpStream| match is_listing {
        true => write!(
            connection,
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/xml\r\n\r\n\
             <?xml version=\"1.0\"?><ListBucketResult>"
        ),
        false => write!(
            connection,
            "HTTP/1.1 206 Partial Content\r\nConnection: close\r\nETag: \"1\"\r\nLast-Modified: \
             Wed, 01 Jan 2020 00:00:00 GMT\r\nContent-Range: bytes 0-99/100\r\nContent-Length: \
             1000000000\r\n\r\n{{"
        ),
    };
    match hostility {
        Hostility::SamePages => send(&mut connection, "application/xml", &page(manifest, true)),
        Hostility::EmptyPages => send(&mut connection, "application/xml", &page("", true)),
        Hostility::Html => {
            send(&mut connection, "text/html", "<!DOCTYPE html><html>Please log in</html>")
        }
        Hostility::Empty => send(&mut connection, "application/xml", ""),
        Hostility::Endless => {
            begin(&mut connection)?;
            loop {
                connection.write_all(&[b' '; 1 << 16])?;
            }
        }
        Hostility::Slow => {
            begin(&mut connection)?;
            loop {
                connection.write_all(b" ")?;
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Hostility::Silent => {
            std::thread::sleep(Duration::from_secs(600));
            Ok(())
        }
    }
}

/// A page of a listing.
fn page(contents: &str, has_more: bool) -> String {
    let more = if has_more { "<NextContinuationToken>next</NextContinuationToken>" } else { "" };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Name>hospital</Name><IsTruncated>{has_more}</IsTruncated>{more}{contents}\
         </ListBucketResult>"
    )
}
