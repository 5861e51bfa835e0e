//! A non-blocking connection and the bytes that its socket has not taken yet.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::Failure;
use crate::sockets::nonblocking;

/// One connection.
#[derive(Debug)]
pub struct Link {
    stream: TcpStream,
    pending: Vec<u8>,
}

/// What one call of recv gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// So many bytes. If the buffer is not full there are no more for now.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// The peer has ended its stream or reset the connection.
    End,
}

impl Link {
    /// Takes over a connected stream.
    ///
    /// # Errors
    /// The system refuses to make it non-blocking.
    pub fn new(stream: TcpStream) -> Result<Self, Failure> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            pending: Vec::new(),
        })
    }

    /// The socket, for readiness.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether bytes wait for room.
    pub fn is_clogged(&self) -> bool {
        !self.pending.is_empty()
    }

    /// One send; what the socket does not take waits for [`Link::flush`].
    ///
    /// # Errors
    /// The connection is broken.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let taken = if self.is_clogged() {
            0
        } else {
            nonblocking(self.stream.write(bytes))?.unwrap_or(0)
        };
        self.pending.extend_from_slice(&bytes[taken..]);
        Ok(())
    }

    /// Sends what waits, as far as there is room.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn flush(&mut self) -> Result<(), Failure> {
        while self.is_clogged() {
            let Some(taken) = nonblocking(self.stream.write(&self.pending))? else {
                return Ok(());
            };
            self.pending.drain(..taken);
        }
        self.pending = Vec::new();
        Ok(())
    }

    /// One recv.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Received {
        match nonblocking(self.stream.read(buffer)) {
            Ok(None) => Received::Nothing,
            Ok(Some(0)) | Err(_) => Received::End,
            Ok(Some(read)) => Received::Bytes(read),
        }
    }
}
