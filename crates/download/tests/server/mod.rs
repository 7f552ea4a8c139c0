//! An HTTP/1.1 server on loopback whose answers a test scripts, faults included.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request as it came; header names in lower case.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// First byte asked for with `Range: bytes=N-`.
    pub fn range_start(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Breaks the connection after so many bytes of the body.
    pub cut_after: Option<usize>,
    /// Says nothing for so long in the place where it would cut.
    pub stall: Option<Duration>,
    /// Leaves `Content-Length` out; the end of the connection is the end of the body.
    pub without_length: bool,
    /// Announces so many bytes, whatever the body has.
    pub announced: Option<usize>,
    /// Sends a further byte after each such pause, without end.
    pub drip: Option<Duration>,
}

impl Reply {
    pub fn new(status: u16, body: &[u8]) -> Self {
        Reply {
            status,
            headers: Vec::new(),
            body: body.to_vec(),
            cut_after: None,
            stall: None,
            without_length: false,
            announced: None,
            drip: None,
        }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.cut_after = Some(bytes);
        self
    }

    /// A whole file, or the part of it that was asked for, as an honest server answers.
    pub fn file(request: &Request, content: &[u8], etag: &str) -> Self {
        let if_range_fails = request.header("if-range").is_some_and(|validator| validator != etag);
        match request.range_start().filter(|_| !if_range_fails) {
            Some(start) if start >= content.len() => {
                Reply::new(416, b"").header("Content-Range", format!("bytes */{}", content.len()))
            }
            Some(start) => Reply::new(206, &content[start..])
                .header(
                    "Content-Range",
                    format!("bytes {start}-{}/{}", content.len() - 1, content.len()),
                )
                .header("ETag", etag),
            None => Reply::new(200, content).header("ETag", etag),
        }
    }
}

/// The server; it ends with the test's process.
pub struct Server {
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers each request with what `answer` makes of it and of its number, from 0.
    pub fn start(answer: impl Fn(usize, &Request) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let Some(request) = read_request(&stream) else { continue };
                seen.lock().unwrap().push(request.clone());
                // The client may have gone; that is its right.
                let _ = send(&mut stream, &answer(number, &request));
            }
        });
        Server { url, requests }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    Some(Request { path, headers })
}

fn send(stream: &mut TcpStream, reply: &Reply) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {} Word\r\nConnection: close\r\n", reply.status)?;
    if !reply.without_length {
        write!(stream, "Content-Length: {}\r\n", reply.announced.unwrap_or(reply.body.len()))?;
    }
    for (name, value) in &reply.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    stream.write_all(
        &reply.body[..reply.cut_after.unwrap_or(reply.body.len()).min(reply.body.len())],
    )?;
    stream.flush()?;
    if let Some(stall) = reply.stall {
        thread::sleep(stall);
    }
    while let Some(pause) = reply.drip {
        thread::sleep(pause);
        stream.write_all(b"x")?;
    }
    Ok(())
}
