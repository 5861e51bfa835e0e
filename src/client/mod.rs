//! The verbs: talk to a running server through its control socket.
//!
//! Blocking and small: one connection, one request, its answers. Only here does the program write to
//! standard output. It must not know how the server does what it is asked.

mod area;
mod connect;
mod report;

use std::io::{self, Read as _, Write as _};

use serde::Serialize;

use self::connect::{Connection, Problem};
use crate::config::{Target, Verb};
use crate::master::control::{Answer, Errand, Request};
use crate::protocol::websocket::Kind;

/// No running instance, or it refused.
const REFUSED: u8 = 5;

/// Does what a verb says; returns the exit code: 0, or 5 with a line on standard error.
pub fn run(verb: &Verb, target: &Target) -> u8 {
    let done = match verb {
        Verb::Publish {
            channel,
            text,
            binary,
        } => publish(target, channel, text.as_deref(), *binary),
        Verb::Tail { channel, json } => tail(target, channel, *json),
        Verb::Area(verb) => area::run(target, verb),
        Verb::Status { json } => status(target, *json),
        Verb::Reload => errand(target, Errand::Reload),
        Verb::Upgrade => errand(target, Errand::Upgrade),
        Verb::Stop { fast } => stop(target, *fast),
        Verb::Scale { processes } => errand(
            target,
            Errand::Scale {
                processes: *processes,
            },
        ),
    };
    match done {
        Ok(()) => 0,
        // Whoever read our output has seen enough.
        Err(Problem::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(problem) => {
            // Without a standard error there is nobody to tell.
            let _closed: io::Result<()> = writeln!(io::stderr(), "master: {problem}");
            REFUSED
        }
    }
}

fn publish(
    target: &Target,
    channel: &str,
    text: Option<&str>,
    binary: bool,
) -> Result<(), Problem> {
    let payload = text_or_input(text)?;
    let kind = if binary { Kind::Binary } else { Kind::Text };
    let mut connection = Connection::open(target)?;
    connection.ask(&Request::Publish {
        channel: channel.to_owned(),
        kind,
        payload,
    })?;
    print_reached(&mut connection)
}

/// The message on the command line, or standard input without one.
fn text_or_input(text: Option<&str>) -> Result<Vec<u8>, Problem> {
    let mut input = Vec::new();
    match text {
        Some(text) => input.extend_from_slice(text.as_bytes()),
        None => {
            let mut stdin = io::stdin().lock();
            stdin.read_to_end(&mut input).map_err(Problem::Input)?;
        }
    }
    Ok(input)
}

/// Waits for the answer to a publication.
fn print_reached(connection: &mut Connection) -> Result<(), Problem> {
    match connection.answer()? {
        Answer::Published {
            reached, workers, ..
        } => print(&format!("reached {reached} of {workers} workers\n")),
        other @ (Answer::Tailing
        | Answer::Message { .. }
        | Answer::Lapped { .. }
        | Answer::AreaBytes { .. }
        | Answer::AreaWritten
        | Answer::Status { .. }
        | Answer::Done { .. }
        | Answer::Refused { .. }) => Err(connect::unexpected(other)),
    }
}

fn tail(target: &Target, channel: &str, json: bool) -> Result<(), Problem> {
    let mut connection = Connection::open(target)?;
    connection.ask(&Request::Tail {
        channel: channel.to_owned(),
    })?;
    let mut next = connection.answer()?;
    loop {
        let line = match next {
            Answer::Tailing => None,
            Answer::Message {
                kind,
                time_us,
                payload,
            } => Some(Line::message(channel, kind, time_us, &payload)),
            Answer::Lapped { entries } => Some(Line::Lapped { entries }),
            other @ (Answer::Published { .. }
            | Answer::Status { .. }
            | Answer::Done { .. }
            | Answer::AreaBytes { .. }
            | Answer::AreaWritten
            | Answer::Refused { .. }) => {
                return Err(connect::unexpected(other));
            }
        };
        if let Some(line) = line {
            let text = match json {
                true => serde_json::to_string(&line).map_err(Problem::Json)?,
                false => line.text(),
            };
            print(&format!("{text}\n"))?;
        }
        next = connection.wait_for_answer()?;
    }
}

fn status(target: &Target, json: bool) -> Result<(), Problem> {
    let mut connection = Connection::open(target)?;
    let status = connection.status()?;
    if json {
        let text = serde_json::to_string_pretty(&status).map_err(Problem::Json)?;
        print(&format!("{text}\n"))
    } else {
        print(&report::table(&status))
    }
}

/// Asks for a change and waits, for as long as it takes, until it is finished.
fn errand(target: &Target, errand: Errand) -> Result<(), Problem> {
    let mut connection = Connection::open(target)?;
    print(&format!("{}\n", connection.run(errand)?))
}

/// Stops the server, and waits until the master is gone, with its sockets and the last line of its log.
fn stop(target: &Target, fast: bool) -> Result<(), Problem> {
    let mut connection = Connection::open(target)?;
    // While it is there for sure.
    let server = connection.server();
    let result = connection.run(Errand::Stop { fast })?;
    if let Some(server) = server {
        server.wait().map_err(Problem::Talk)?;
    }
    // Where its process cannot be watched, the end of the connection is the last that is seen of it.
    match connection.wait_for_answer() {
        Err(Problem::Ended) => print(&format!("{result}\n")),
        Err(problem) => Err(problem),
        Ok(answer) => Err(connect::unexpected(answer)),
    }
}

/// What `tail` prints on one line.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
enum Line<'m> {
    Text {
        channel: &'m str,
        time_us: u64,
        text: String,
    },
    Binary {
        channel: &'m str,
        time_us: u64,
        bytes: usize,
        hex: String,
    },
    Lapped {
        entries: u64,
    },
}

impl<'m> Line<'m> {
    fn message(channel: &'m str, kind: Kind, time_us: u64, payload: &[u8]) -> Self {
        match kind {
            Kind::Text => {
                let text = String::from_utf8_lossy(payload).into_owned();
                Self::Text {
                    channel,
                    time_us,
                    text,
                }
            }
            Kind::Binary => {
                let hex = payload.iter().map(|byte| format!("{byte:02x}")).collect();
                Self::Binary {
                    channel,
                    time_us,
                    bytes: payload.len(),
                    hex,
                }
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Text { text, .. } => text.clone(),
            Self::Binary { bytes, .. } => format!("(binary, {bytes} bytes)"),
            Self::Lapped { entries } => format!("(too slow, entries overwritten: {entries})"),
        }
    }
}

fn print(text: &str) -> Result<(), Problem> {
    print_bytes(text.as_bytes())
}

fn print_bytes(bytes: &[u8]) -> Result<(), Problem> {
    let mut output = io::stdout().lock();
    output
        .write_all(bytes)
        .and_then(|()| output.flush())
        .map_err(Problem::Output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Status;

    #[test]
    fn a_message_is_one_line_of_text_or_json() {
        let text = Line::message("news", Kind::Text, 7, "h\u{e9} \"x\"".as_bytes());
        assert_eq!(text.text(), "h\u{e9} \"x\"");
        assert_eq!(
            serde_json::to_string(&text).unwrap(),
            r#"{"kind":"text","channel":"news","time_us":7,"text":"hé \"x\""}"#
        );
        let binary = Line::message("news", Kind::Binary, 7, &[0, 255]);
        assert_eq!(binary.text(), "(binary, 2 bytes)");
        assert_eq!(
            serde_json::to_string(&binary).unwrap(),
            r#"{"kind":"binary","channel":"news","time_us":7,"bytes":2,"hex":"00ff"}"#
        );
    }

    #[test]
    fn a_status_survives_json() {
        let status = report::example();
        let json = serde_json::to_vec(&status).unwrap();
        assert_eq!(serde_json::from_slice::<Status>(&json).unwrap(), status);
    }
}
