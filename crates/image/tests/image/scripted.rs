//! Harness G1: an HTTP server on loopback whose every answer is the test's. It keeps the head of each request, so
//! that a test can say what it must never have been sent.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A request: method and target, and its headers in lower case.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) headers: Vec<String>,
}

impl Asked {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The first byte of a range, 0 without one.
    pub(crate) fn offset(&self) -> usize {
        let range = self.header("range").and_then(|range| range.strip_prefix("bytes="));
        range.and_then(|range| range.trim_end_matches('-').parse().ok()).unwrap_or(0)
    }
}

/// What the server does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Status, headers, body.
    Full(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// A body cut off after so many bytes; the length said is the whole one's.
    Cut(u16, Vec<(&'static str, String)>, Vec<u8>, usize),
    /// Headers, and then one byte of body at a time until the client goes away.
    Drip(Vec<u8>),
    /// Nothing until the client goes away.
    Silence,
}

pub(crate) fn ok(kind: &str, body: &[u8]) -> Answer {
    Answer::Full(200, vec![("content-type", kind.to_owned())], body.to_vec())
}

pub(crate) fn status(code: u16) -> Answer {
    Answer::Full(code, Vec::new(), Vec::new())
}

type Script = dyn Fn(&Asked) -> Answer + Send + Sync;

/// A running server; it ends when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    ended: Arc<AtomicBool>,
}

impl Server {
    pub(crate) fn start(script: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let ended: Arc<AtomicBool> = Arc::default();
        let script: Arc<Script> = Arc::new(script);
        let (heard, end) = (Arc::clone(&asked), Arc::clone(&ended));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let (script, heard, end) = (Arc::clone(&script), Arc::clone(&heard), Arc::clone(&end));
                let Ok(stream) = stream else { continue };
                std::thread::spawn(move || serve(&stream, &*script, &heard, &end));
            }
        });
        Self { address, asked, ended }
    }

    /// `127.0.0.1:port`, as in a reference.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Everything asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no thread panicked").clone()
    }

    /// How often a request's line had this in it.
    pub(crate) fn count(&self, part: &str) -> usize {
        self.asked().iter().filter(|asked| asked.line.contains(part)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the listener up.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: &TcpStream, script: &Script, heard: &Mutex<Vec<Asked>>, ended: &AtomicBool) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if line.trim().is_empty() => break,
                Ok(_) => lines.push(line.trim().to_owned()),
            }
        }
        if lines.is_empty() {
            continue;
        }
        let lower = |line: &String| {
            let (name, value) = line.split_once(": ").unwrap_or((line, ""));
            format!("{}: {value}", name.to_ascii_lowercase())
        };
        let asked = Asked { line: lines[0].clone(), headers: lines[1..].iter().map(lower).collect() };
        heard.lock().expect("no thread panicked").push(asked.clone());
        if answer(stream, script(&asked), ended).is_err() {
            return;
        }
    }
}

fn answer(mut stream: &TcpStream, answer: Answer, ended: &AtomicBool) -> std::io::Result<()> {
    let closed = || Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted));
    match answer {
        Answer::Full(status, headers, body) => {
            stream.write_all(head(status, &headers, body.len()).as_bytes())?;
            stream.write_all(&body)
        }
        Answer::Cut(status, headers, body, at) => {
            stream.write_all(head(status, &headers, body.len()).as_bytes())?;
            stream.write_all(&body[..at])?;
            stream.shutdown(std::net::Shutdown::Both)?;
            closed()
        }
        Answer::Drip(body) => {
            stream.write_all(head(200, &[], body.len()).as_bytes())?;
            for byte in body {
                stream.write_all(&[byte])?;
                std::thread::park_timeout(std::time::Duration::from_millis(20));
                if ended.load(Ordering::SeqCst) {
                    break;
                }
            }
            closed()
        }
        Answer::Silence => {
            // The client's own deadline ends this: reading returns when it goes away.
            let _ = std::io::Read::read(&mut stream, &mut [0; 64]);
            closed()
        }
    }
}

fn head(status: u16, headers: &[(&'static str, String)], length: usize) -> String {
    let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n");
    for (name, value) in headers {
        head.extend([*name, ": ", value, "\r\n"]);
    }
    head + "\r\n"
}
