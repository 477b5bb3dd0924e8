//! What clients send: requests, filters, addresses, and HTTP/2 with an authority that has to be mended.

use anyhow::{Result, ensure};
use gantry_api::authority::Mended;
use gantry_api::connect::Address;
use gantry_api::containers::v1::{ContainerOptions, CreateContainerRequest, ProcessOptions};
use gantry_api::convert::ContainerRequest;
use gantry_api::filter::{Filter, quote};
use gantry_types::{ContainerName, Namespace, RequestId};
use prost::Message;
use tokio::io::AsyncReadExt as _;

use super::{Target, text, texts};

pub(super) fn all() -> Vec<Target> {
    vec![
        Target {
            name: "filter",
            samples: || texts(&["name==a|b,labels", "status!=running", "name~=we*b,id==\"a\\\"b\"", ""]),
            words: &["==", "!=", "~=", "|", ",", "\"", "\\", "*", "name", "***********"],
            run: filter,
        },
        Target {
            name: "address",
            samples: || texts(&["unix:///run/x.sock", "tcp://[::1]:2376", "tcp://host:1"]),
            words: &["unix:", "tcp://", "//", ":65536", "[", "%00"],
            run: address,
        },
        Target {
            name: "names",
            samples: || texts(&["web-1", "a.b_c", &"x".repeat(64)]),
            words: &["/", "..", "-", "."],
            run: names,
        },
        Target {
            name: "create_request",
            samples: requests,
            words: &["\u{12}\u{3}", "\u{a}\u{ff}", "A=b", "/x:/y"],
            run: create_request,
        },
        Target {
            name: "authority",
            samples: connections,
            words: &["%2F", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\0\0\u{4}\u{1}\u{4}\0\0\0\u{1}"],
            run: authority,
        },
    ]
}

fn filter(bytes: &[u8]) -> Result<bool> {
    let text = text(bytes);
    let quoted = format!("name=={}", quote(&text));
    if let Ok(filter) = Filter::parse(&quoted, &["name"]) {
        ensure!(
            text.contains('*') || text.is_empty() || filter.matches(|_| [text.as_str().into()]),
            "{quoted} does not match what it quotes"
        );
    }
    let Ok(filter) = Filter::parse(&text, &["name", "id", "status", "labels"]) else { return Ok(false) };
    let _ = filter.matches(|_| ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab".into(), "web".into()]);
    Ok(true)
}

fn address(bytes: &[u8]) -> Result<bool> {
    let Ok(address) = text(bytes).parse::<Address>() else { return Ok(false) };
    ensure!(
        address.to_string().parse::<Address>().is_ok_and(|again| again == address),
        "{address} is another one again"
    );
    Ok(true)
}

fn names(bytes: &[u8]) -> Result<bool> {
    let text = text(bytes);
    let is_path = |text: &str| text.contains('/') || text == "." || text == "..";
    let taken = [
        text.parse::<ContainerName>().is_ok(),
        text.parse::<Namespace>().is_ok(),
        text.parse::<RequestId>().is_ok_and(|_| !is_path(&text)),
    ];
    // The first two name folders.
    ensure!(!(taken[0] || taken[1]) || !is_path(&text), "{text:?} is taken as a name");
    Ok(taken[0])
}

fn requests() -> Vec<Vec<u8>> {
    let process = ProcessOptions {
        args: vec!["sh".into()],
        env: vec!["A=b".into()],
        user: Some("1:2".into()),
        ..Default::default()
    };
    let options =
        ContainerOptions { process: Some(process), hostname: Some("box".into()), ..Default::default() };
    let request = CreateContainerRequest {
        image: "redis".into(),
        name: "web".into(),
        options: Some(options),
        ..Default::default()
    };
    vec![request.encode_to_vec()]
}

fn create_request(bytes: &[u8]) -> Result<bool> {
    let Ok(request) = CreateContainerRequest::decode(bytes) else { return Ok(false) };
    ensure!(
        CreateContainerRequest::decode(request.encode_to_vec().as_slice())? == request,
        "it changes on its way"
    );
    let Ok(checked) = ContainerRequest::try_from(request) else { return Ok(false) };
    let env = checked.options.process.env;
    ensure!(!env.iter().any(|entry| entry.contains('\0')), "a NUL would end an entry early: {env:?}");
    Ok(true)
}

fn connections() -> Vec<Vec<u8>> {
    // What grpcio sends first: preface, settings, headers with an :authority that has to be mended.
    vec![include_bytes!("../../../crates/api/testdata/grpcio-1.85-unix.bin").to_vec()]
}

/// Nothing is added or lost on the way, and the preface stays; taken is what needed mending.
fn authority(bytes: &[u8]) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let read = runtime.block_on(async {
        let mut read = Vec::new();
        Mended::new(Pieces(bytes)).read_to_end(&mut read).await.map(|_| read)
    })?;
    ensure!(read.len() == bytes.len(), "{} bytes became {}", bytes.len(), read.len());
    let changed: Vec<_> = bytes.iter().zip(&read).filter(|(before, after)| before != after).collect();
    ensure!(changed.iter().all(|(before, after)| **before == b'%' && **after == b'-'), "{changed:?}");
    Ok(!changed.is_empty())
}

/// A stream that gives a few bytes at a time.
struct Pieces<'bytes>(&'bytes [u8]);

impl tokio::io::AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let (piece, rest) = self.0.split_at(self.0.len().min(13).min(buf.remaining()));
        buf.put_slice(piece);
        self.0 = rest;
        std::task::Poll::Ready(Ok(()))
    }
}
