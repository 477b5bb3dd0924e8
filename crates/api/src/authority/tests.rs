//! What grpcio really sends, recorded from grpcio 1.85.1 calling GetVersion twice over `unix:/tmp/api-h2/so ck.sock`,
//! and the same in every other shape that the protocol allows. The real client is run in `tests/clients`.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::{Request, Response, Status};

use super::Mended;
use super::frame::Frames;
use crate::system::v1::system_service_server::{SystemService, SystemServiceServer};
use crate::system::v1::{
    GetDiskUsageRequest, GetDiskUsageResponse, GetInfoRequest, GetInfoResponse, GetVersionRequest,
    GetVersionResponse,
};

const RECORDED: &[u8] = include_bytes!("../../testdata/grpcio-1.85-unix.bin");
const SENT: &[u8] = b"tmp%2Fapi-h2%2Fso%20ck.sock";
const MENDED: &[u8] = b"tmp-2Fapi-h2-2Fso-20ck.sock";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn replaced(bytes: &[u8]) -> Vec<u8> {
    let at = bytes.windows(SENT.len()).position(|window| window == SENT).expect("there");
    [&bytes[..at], MENDED, &bytes[at + SENT.len()..]].concat()
}

fn mended_in_steps_of(step: usize, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut frames = Frames::default();
    bytes.chunks_mut(step).for_each(|chunk| frames.mend(chunk));
    bytes
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

#[test]
fn only_the_authority_changes_however_the_bytes_arrive() {
    let expected = replaced(RECORDED);
    for step in 1..=RECORDED.len() {
        assert_eq!(mended_in_steps_of(step, RECORDED), expected, "in steps of {step}");
    }
}

/// A block cut in two within the authority, with padding and priority, between frames of data.
fn cut_up(name: &[u8], value: &[u8]) -> Vec<u8> {
    let other = b"\x40\x01x\x03a%b\x82\xff\x80\x01\x3f\x01";
    let length = [u8::try_from(value.len()).expect("short")];
    let block = [other, name, &length, value, other].concat();
    let (first, second) = block.split_at(other.len() + name.len() + 9);
    [
        PREFACE,
        &frame(0, 0, b"%%%"),
        &frame(1, 0x08 | 0x20, &[&[2u8, 0, 0, 0, 0, 0][..], first, b"%%"].concat()),
        &frame(9, 0x04, second),
        &frame(0, 0x08, &[&[1u8][..], SENT, b"%"].concat()),
    ]
    .concat()
}

#[test]
fn padding_priority_and_continuation_are_followed() {
    for name in [&b"\x41"[..], b"\x01", b"\x11", b"\x40\x0a:authority", b"\x00\x0a:authority"] {
        for step in [1, 2, 7, 1000] {
            assert_eq!(mended_in_steps_of(step, &cut_up(name, SENT)), cut_up(name, MENDED), "{name:?}");
        }
    }
}

#[test]
fn values_of_other_names_and_other_protocols_pass_untouched() {
    let headers = frame(1, 0x04, b"\x40\x0a:authoritx\x03a%b\x44\x03a%b\x40\x8a:authority\x03a%b");
    let stream = [PREFACE, &headers].concat();
    assert_eq!(mended_in_steps_of(1, &stream), stream);
    let http1 = [b"GET / HTTP/1.1\r\nhost: ".as_slice(), SENT].concat();
    assert_eq!(mended_in_steps_of(3, &http1), http1);
}

#[test]
fn a_long_authority_is_mended_to_its_end() {
    let long = b"%".repeat(300);
    let block = [b"\x41\x7f\xad\x01".as_slice(), &long].concat();
    let stream = [PREFACE, &frame(1, 0x04, &block), &frame(1, 0x04, b"\x41\x01%")].concat();
    let mended = mended_in_steps_of(5, &stream);
    assert!(!mended.contains(&b'%'));
    assert_eq!(mended.len(), stream.len());
}

#[test]
fn malformed_frames_neither_panic_nor_stop_the_stream() {
    for broken in [
        frame(1, 0x08 | 0x04, &[]),
        frame(1, 0x08 | 0x04, &[255]),
        frame(1, 0x28 | 0x04, &[255, 1, 2]),
        frame(1, 0x20 | 0x04, &[1]),
        frame(1, 0x04, b"\x41\x7f\xff\xff\xff\xff\xff\xff\x01x"),
        frame(9, 0x04, b"\x41"),
    ] {
        let stream = [PREFACE, &broken, &frame(1, 0x04, b"\x41\x03a%b")].concat();
        let mended = mended_in_steps_of(4, &stream);
        assert_eq!(mended.len(), stream.len());
    }
}

struct System;

#[tonic::async_trait]
impl SystemService for System {
    async fn get_version(
        &self,
        _: Request<GetVersionRequest>,
    ) -> Result<Response<GetVersionResponse>, Status> {
        Ok(Response::new(GetVersionResponse::default()))
    }

    async fn get_info(&self, _: Request<GetInfoRequest>) -> Result<Response<GetInfoResponse>, Status> {
        Err(Status::internal("not asked for here"))
    }

    async fn get_disk_usage(
        &self,
        _: Request<GetDiskUsageRequest>,
    ) -> Result<Response<GetDiskUsageResponse>, Status> {
        Err(Status::internal("not asked for here"))
    }
}

/// The type of the first HEADERS or RST_STREAM frame that a real server answers the recorded call with.
async fn answer<S>(server_side: S, mut client: tokio::io::DuplexStream) -> u8
where
    S: tokio::io::AsyncRead
        + tokio::io::AsyncWrite
        + tonic::transport::server::Connected
        + Send
        + Unpin
        + 'static,
{
    let incoming = tokio_stream::once(Ok::<_, std::io::Error>(server_side));
    let server = tonic::transport::Server::builder()
        .add_service(SystemServiceServer::new(System))
        .serve_with_incoming(incoming);
    let task = tokio::spawn(server);
    // Up to the first RST_STREAM, with which the recorded client gave the call up.
    let given_up = RECORDED.windows(4).position(|window| window == [0, 0, 4, 3]).expect("there");
    client.write_all(&RECORDED[..given_up]).await.expect("the server reads");
    let first = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let mut header = [0; 9];
            client.read_exact(&mut header).await.expect("the server answers");
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
            let mut payload = vec![0; usize::try_from(length).expect("24 bits")];
            client.read_exact(&mut payload).await.expect("the server answers");
            if matches!(header[3], 1 | 3) {
                return header[3];
            }
        }
    });
    let kind = first.await.expect("an answer in time");
    task.abort();
    kind
}

#[tokio::test]
async fn a_real_server_answers_grpcio_only_through_the_mend() {
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    let (client, server) = tokio::io::duplex(1 << 16);
    assert_eq!(answer(server, client).await, RST_STREAM, "the mend is not needed any more: remove it");
    let (client, server) = tokio::io::duplex(1 << 16);
    assert_eq!(answer(Mended::new(server), client).await, HEADERS);
}
