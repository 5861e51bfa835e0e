//! A WebSocket client as small as it can be: one socket, one handshake, frames as they come.
//!
//! It checks what every frame of a server must be (whole, unmasked, without reserved bits) and reports how the
//! connection ended. It must not know anything of the library under test.

use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use crate::PATIENCE;
use crate::server::Server;

/// Opcodes of RFC 6455 section 11.8.
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Key and answer of RFC 6455 section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const READ_BYTES: usize = 64 * 1024;

/// RSV1, by which a frame says that it is compressed.
const COMPRESSED: u8 = 0x40;
const DEFLATE_TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// Longer compressed messages are not sent here.
const INFLATED_BYTES_MAX: usize = 64 * 1024;

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Text(String),
    Binary(Vec<u8>),
    /// The close code, if there was one.
    Close(Option<u16>),
    /// The stream ended between two frames.
    Ended,
    /// The stream ended within a frame.
    Cut,
}

/// A connected client.
#[derive(Debug)]
pub(crate) struct Peer<S = TcpStream> {
    stream: S,
    input: Vec<u8>,
    done: usize,
    /// Payloads of the pongs that [`Peer::read`] has come across.
    pongs: Vec<Vec<u8>>,
    /// permessage-deflate was agreed.
    deflate: Option<Deflate>,
    /// Compressed frames that have come.
    compressed: usize,
}

/// Our end of permessage-deflate.
#[derive(Debug)]
struct Deflate {
    compress: Compress,
    decompress: Decompress,
    /// Whether the server's messages are compressed each by itself.
    theirs_alone: bool,
    /// And ours.
    ours_alone: bool,
}

/// The header line of a client that compresses.
pub(crate) const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

/// A TCP connection on which nothing hangs for ever.
pub(crate) fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The opening handshake's request.
pub(crate) fn upgrade_request(path: &str) -> String {
    upgrade_request_with(path, "")
}

/// The same with more header lines.
pub(crate) fn upgrade_request_with(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    )
}

/// A client frame, masked.
pub(crate) fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        bytes @ 0..126 => frame.push(0x80 | u8::try_from(bytes).unwrap()),
        bytes @ 126..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(bytes).unwrap().to_be_bytes());
        }
        bytes => {
            frame.push(0x80 | 127);
            frame.extend((bytes as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    // By words: the tests are not optimised.
    let (words, rest) = payload.as_chunks::<4>();
    let mask = u32::from_le_bytes(MASK);
    frame.extend(
        words
            .iter()
            .flat_map(|word| (u32::from_le_bytes(*word) ^ mask).to_le_bytes()),
    );
    frame.extend(rest.iter().zip(MASK).map(|(byte, mask)| byte ^ mask));
    frame
}

impl Peer {
    /// A client of a server's first address; the server must take it.
    pub(crate) fn of(server: &Server, path: &str) -> Self {
        Self::connect(server.address(), path).expect("the handshake is accepted")
    }

    /// A client that offers permessage-deflate, which the server must agree to.
    pub(crate) fn deflating(server: &Server, path: &str) -> Self {
        let stream = dial(server.address()).expect("the server listens");
        let request = upgrade_request_with(path, DEFLATE);
        let peer = Self::finish(stream, &request).expect("the handshake is accepted");
        assert!(peer.deflate.is_some());
        peer
    }

    /// A client, or what went wrong.
    pub(crate) fn connect(address: SocketAddr, path: &str) -> io::Result<Self> {
        Self::on(dial(address)?, path)
    }
}

impl<S: Read + Write + Debug> Peer<S> {
    /// The opening handshake on a fresh connection.
    pub(crate) fn on(stream: S, path: &str) -> io::Result<Self> {
        Self::finish(stream, &upgrade_request(path))
    }

    /// The rest of an opening handshake whose request is partly sent.
    pub(crate) fn finish(mut stream: S, rest: &str) -> io::Result<Self> {
        stream.write_all(rest.as_bytes())?;
        let mut peer = Self {
            stream,
            input: Vec::new(),
            done: 0,
            pongs: Vec::new(),
            deflate: None,
            compressed: 0,
        };
        let end = loop {
            let end = peer.input.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
            if peer.fill()? == 0 {
                return Err(io::Error::other(
                    "the connection ended before the handshake was done",
                ));
            }
        };
        let head = String::from_utf8_lossy(&peer.input[..end]).into_owned();
        if !head.starts_with("HTTP/1.1 101 ") || !head.contains(ACCEPT) {
            return Err(io::Error::other(format!(
                "the handshake was refused: {head}"
            )));
        }
        peer.done = end;
        peer.deflate = head
            .contains("permessage-deflate")
            .then(|| Deflate::agreed(&head));
        Ok(peer)
    }

    pub(crate) fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    pub(crate) fn send(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(&masked(TEXT, text.as_bytes()))
    }

    /// A compressed message; compression was agreed.
    pub(crate) fn send_deflated(&mut self, text: &str) -> io::Result<()> {
        let deflate = self.deflate.as_mut().expect("it was agreed");
        let mut frame = masked(TEXT, &deflate.compress(text));
        frame[0] |= COMPRESSED;
        self.stream.write_all(&frame)
    }

    pub(crate) fn send_binary(&mut self, payload: &[u8]) -> io::Result<()> {
        self.stream.write_all(&masked(BINARY, payload))
    }

    /// Answers a close frame.
    pub(crate) fn send_close(&mut self, code: u16) -> io::Result<()> {
        self.stream.write_all(&masked(CLOSE, &code.to_be_bytes()))
    }

    pub(crate) fn ping(&mut self, payload: &[u8]) -> io::Result<()> {
        self.stream.write_all(&masked(PING, payload))
    }

    /// Whether permessage-deflate was agreed.
    pub(crate) fn deflates(&self) -> bool {
        self.deflate.is_some()
    }

    /// How many compressed frames have come.
    pub(crate) fn compressed(&self) -> usize {
        self.compressed
    }

    /// Payloads of the pongs that have come between what was read.
    pub(crate) fn pongs(&self) -> &[Vec<u8>] {
        &self.pongs
    }

    /// What comes next; pings are answered on the way. The error is that of a read that takes too long.
    pub(crate) fn read(&mut self) -> io::Result<Event> {
        loop {
            let Some((opcode, payload)) = self.frame() else {
                match self.fill() {
                    Ok(1..) => continue,
                    Ok(0) => {}
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                    Err(error) => return Err(error),
                }
                let whole = self.done == self.input.len();
                return Ok(if whole { Event::Ended } else { Event::Cut });
            };
            return Ok(match opcode {
                TEXT => Event::Text(String::from_utf8(payload).expect("text is UTF-8")),
                BINARY => Event::Binary(payload),
                CLOSE => Event::Close(payload.first_chunk().copied().map(u16::from_be_bytes)),
                PING => {
                    // Who is gone meanwhile does not want it.
                    let _gone = self.stream.write_all(&masked(PONG, &payload));
                    continue;
                }
                PONG => {
                    self.pongs.push(payload);
                    continue;
                }
                _ => panic!("a frame with opcode {opcode} came"),
            });
        }
    }

    /// Whether another whole frame has come already.
    pub(crate) fn has_more(&self) -> bool {
        let input = &self.input[self.done..];
        frame_bytes(input).is_some_and(|(header, payload)| input.len() >= header + payload)
    }

    /// The next message, which must be this text.
    pub(crate) fn expect(&mut self, text: &str) {
        assert_eq!(self.read().expect("in time"), Event::Text(text.to_owned()));
    }

    /// Reads on to the close frame, answers it, and returns its code.
    pub(crate) fn close_code(&mut self) -> Option<u16> {
        loop {
            match self.read().expect("in time") {
                Event::Close(code) => {
                    let _gone = self.send_close(code.unwrap_or(1000));
                    return code;
                }
                Event::Text(_) | Event::Binary(_) => {}
                other @ (Event::Ended | Event::Cut) => panic!("no close frame before: {other:?}"),
            }
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        self.input.drain(..self.done);
        self.done = 0;
        let before = self.input.len();
        self.input.resize(before + READ_BYTES, 0);
        let read = self.stream.read(&mut self.input[before..]);
        self.input
            .truncate(before + read.as_ref().copied().unwrap_or(0));
        read
    }

    /// The next whole frame that has come.
    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let input = &self.input[self.done..];
        let first = *input.first()?;
        let compressed = first & COMPRESSED != 0;
        assert!(
            first & 0xb0 == 0x80 && (self.deflate.is_some() || !compressed),
            "whole frames without reserved bits come from a server: {first:#x}"
        );
        let (header_bytes, bytes) = frame_bytes(input)?;
        let payload = input.get(header_bytes..header_bytes + bytes)?.to_vec();
        self.done += header_bytes + bytes;
        self.compressed += usize::from(compressed);
        let payload = match &mut self.deflate {
            Some(deflate) if compressed => deflate.inflate(&payload),
            Some(_) | None => payload,
        };
        Some((first & 0x0f, payload))
    }
}

/// The bytes of a server's frame header, and of the payload behind it.
fn frame_bytes(input: &[u8]) -> Option<(usize, usize)> {
    match *input.get(1)? {
        short @ 0..126 => Some((2, usize::from(short))),
        126 => {
            let bytes = u16::from_be_bytes(*input[2..].first_chunk()?);
            Some((4, usize::from(bytes)))
        }
        127 => {
            let bytes = u64::from_be_bytes(*input[2..].first_chunk()?);
            Some((10, usize::try_from(bytes).unwrap()))
        }
        _ => panic!("a masked frame came from a server"),
    }
}

impl Deflate {
    fn agreed(head: &str) -> Self {
        Self {
            compress: Compress::new(Compression::fast(), false),
            decompress: Decompress::new(false),
            theirs_alone: head.contains("server_no_context_takeover"),
            ours_alone: head.contains("client_no_context_takeover"),
        }
    }

    /// RFC 7692 section 7.2.1.
    fn compress(&mut self, text: &str) -> Vec<u8> {
        if self.ours_alone {
            self.compress.reset();
        }
        let mut deflated = Vec::with_capacity(text.len() + 64);
        self.compress
            .compress_vec(text.as_bytes(), &mut deflated, FlushCompress::Sync)
            .expect("it can be compressed");
        deflated.truncate(deflated.len() - DEFLATE_TAIL.len());
        deflated
    }

    /// Section 7.2.2.
    fn inflate(&mut self, payload: &[u8]) -> Vec<u8> {
        if self.theirs_alone {
            self.decompress.reset(false);
        }
        let input = [payload, &DEFLATE_TAIL].concat();
        let mut inflated = Vec::with_capacity(INFLATED_BYTES_MAX);
        self.decompress
            .decompress_vec(&input, &mut inflated, FlushDecompress::Sync)
            .expect("it can be inflated");
        inflated
    }
}

/// A whole HTTP exchange on a connection that the server closes.
pub(crate) fn http(mut stream: impl Read + Write, request: &str) -> String {
    stream
        .write_all(request.as_bytes())
        .expect("the request leaves");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("an answer of text");
    answer
}
