//! The floor of an echo server: every byte goes back, one recv and one send for each readiness, one thread.
//!
//! It knows no websocket; the generator sends it the same masked frames and gets the same number of bytes back.
//! Says `listening on ADDRESS` on stderr and ends with the process that started it.

use bellwether_bench::Failure;
use bellwether_bench::link::{Link, Received};
use bellwether_bench::process;
use bellwether_bench::sockets::{Poll, listener};

const LISTENER: usize = usize::MAX;
const BUFFER_BYTES: usize = 64 * 1024;

struct Client {
    link: Link,
    /// Bytes were left in the socket because answers did not leave.
    unread: bool,
}

fn main() -> Result<(), Failure> {
    process::end_with_parent()?;
    process::raise_descriptor_limit()?;
    let (listener, address) = listener()?;
    let mut poll = Poll::new(1024)?;
    poll.add_listener(&listener, LISTENER)?;
    eprintln!("listening on {address}");
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut ready = Vec::new();
    loop {
        ready.clear();
        ready.extend(poll.wait(None)?);
        for event in &ready {
            if event.number == LISTENER {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                let number = free.pop().unwrap_or(clients.len());
                poll.add(&stream, number)?;
                let client = Client {
                    link: Link::new(stream)?,
                    unread: false,
                };
                if number == clients.len() {
                    clients.push(Some(client));
                } else {
                    clients[number] = Some(client);
                }
                continue;
            }
            let Some(client) = &mut clients[event.number] else {
                continue;
            };
            if !serve(client, event.readable, &mut buffer) {
                clients[event.number] = None;
                free.push(event.number);
            }
        }
    }
}

/// False when the client is gone.
fn serve(client: &mut Client, readable: bool, buffer: &mut [u8]) -> bool {
    client.unread |= readable;
    if client.link.is_clogged() && client.link.flush().is_err() {
        return false;
    }
    while client.unread && !client.link.is_clogged() {
        match client.link.receive(buffer) {
            Received::End => return false,
            Received::Nothing => client.unread = false,
            Received::Bytes(read) => {
                client.unread = read == buffer.len();
                if client.link.send(&buffer[..read]).is_err() {
                    return false;
                }
            }
        }
    }
    true
}
