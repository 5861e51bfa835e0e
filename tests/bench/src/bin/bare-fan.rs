//! The floor of an unbatched broadcast: for each frame of the publisher, a bare loop of `send` over all other
//! connections, one thread.
//!
//! There is no handshake. Every connection is greeted with one byte, so that the generator knows that it counts;
//! whoever sends is the publisher, and sends unmasked frames. Says `listening on ADDRESS` on stderr and ends with
//! the process that started it.

use std::io::Write;
use std::net::TcpStream;

use bellwether_bench::link::{Link, Received};
use bellwether_bench::sockets::{Poll, listener, nonblocking};
use bellwether_bench::{Failure, process};

const LISTENER: usize = usize::MAX;
const BUFFER_BYTES: usize = 64 * 1024;

fn main() -> Result<(), Failure> {
    process::end_with_parent()?;
    process::raise_descriptor_limit()?;
    let (listener, address) = listener()?;
    let mut poll = Poll::new(1024)?;
    poll.add_listener(&listener, LISTENER)?;
    eprintln!("listening on {address}");
    let mut clients: Vec<Option<Link>> = Vec::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut partial = Vec::new();
    let mut ready = Vec::new();
    loop {
        ready.clear();
        ready.extend(poll.wait(None)?);
        for event in &ready {
            if event.number == LISTENER {
                clients.push(Some(greet(listener.accept()?.0, &poll, clients.len())?));
                continue;
            }
            while let Some(client) = &mut clients[event.number] {
                match client.receive(&mut buffer) {
                    Received::Nothing => break,
                    Received::End => clients[event.number] = None,
                    Received::Bytes(read) => {
                        partial.extend_from_slice(&buffer[..read]);
                        let used = broadcast(&partial, event.number, &clients)?;
                        partial.drain(..used);
                        if read < buffer.len() {
                            break;
                        }
                    }
                }
            }
        }
    }
}

fn greet(mut stream: TcpStream, poll: &Poll, number: usize) -> Result<Link, Failure> {
    stream.set_nodelay(true)?;
    stream.write_all(b"+")?;
    poll.add(&stream, number)?;
    Link::new(stream)
}

/// Sends each whole frame to everybody but the publisher; returns how many bytes were whole frames.
fn broadcast(input: &[u8], publisher: usize, clients: &[Option<Link>]) -> Result<usize, Failure> {
    let mut used = 0;
    while let Some(frame_bytes) = frame_bytes(&input[used..]) {
        let frame = &input[used..used + frame_bytes];
        for (_, client) in clients
            .iter()
            .enumerate()
            .filter(|(number, _)| *number != publisher)
        {
            let Some(client) = client else { continue };
            // A client that has gone is none of this program's business; its end will be read.
            if let Ok(taken) = nonblocking(client.stream().write(frame))
                && taken != Some(frame.len())
            {
                return Err("a subscriber's socket is full: the generator reads too slowly".into());
            }
        }
        used += frame_bytes;
    }
    Ok(used)
}

/// Bytes of the unmasked frame at the start of `input`, if all of it is there (RFC 6455 section 5.2).
fn frame_bytes(input: &[u8]) -> Option<usize> {
    let total = match (*input.get(1)?, input) {
        (126, [_, _, high, low, ..]) => 4 + usize::from(u16::from_be_bytes([*high, *low])),
        (short @ 0..=125, _) => 2 + usize::from(short),
        (_, _) => return None,
    };
    (input.len() >= total).then_some(total)
}
