//! The verbs about areas. It must not know how the server does what it is asked.

use super::connect::{self, Connection, Problem};
use super::{print, print_bytes, print_reached, report, text_or_input};
use crate::config::{AreaVerb, Target};
use crate::master::control::{Answer, AreaRequest, Request};
use crate::protocol::websocket::Kind;

pub(super) fn run(target: &Target, verb: &AreaVerb) -> Result<(), Problem> {
    match verb {
        AreaVerb::Info { area, json } => info(target, area.as_deref(), *json),
        AreaVerb::Read {
            area,
            position,
            bytes,
        } => read(target, area, *position, *bytes),
        AreaVerb::Write {
            area,
            position,
            text,
        } => {
            let request = AreaRequest::Write {
                area: area.clone(),
                position: *position,
                bytes: text_or_input(text.as_deref())?,
            };
            let mut connection = Connection::open(target)?;
            connection.ask(&Request::Area(request))?;
            let answer = connection.answer()?;
            if answer == Answer::AreaWritten {
                return Ok(());
            }
            Err(connect::unexpected(answer))
        }
        AreaVerb::Send {
            area,
            channel,
            position,
            bytes,
            binary,
        } => {
            let request = AreaRequest::Send {
                area: area.clone(),
                position: *position,
                bytes: *bytes,
                channel: channel.clone(),
                kind: if *binary { Kind::Binary } else { Kind::Text },
            };
            let mut connection = Connection::open(target)?;
            connection.ask(&Request::Area(request))?;
            print_reached(&mut connection)
        }
    }
}

fn info(target: &Target, area: Option<&str>, json: bool) -> Result<(), Problem> {
    let mut areas = Connection::open(target)?.status()?.areas;
    if let Some(wanted) = area {
        areas.retain(|area| area.name.as_deref() == Some(wanted) || area.id.to_string() == wanted);
        if areas.is_empty() {
            return Err(Problem::NoArea(wanted.to_owned()));
        }
    }
    if json {
        let text = serde_json::to_string_pretty(&areas).map_err(Problem::Json)?;
        print(&format!("{text}\n"))
    } else {
        print(&report::areas(&areas))
    }
}

/// Asks until nothing is left: the master answers with a part at a time.
fn read(
    target: &Target,
    area: &str,
    mut position: u64,
    mut bytes: Option<u64>,
) -> Result<(), Problem> {
    let mut connection = Connection::open(target)?;
    loop {
        connection.ask(&Request::Area(AreaRequest::Read {
            area: area.to_owned(),
            position,
            bytes,
        }))?;
        let answer = connection.answer()?;
        let Answer::AreaBytes { left, bytes: some } = answer else {
            return Err(connect::unexpected(answer));
        };
        print_bytes(&some)?;
        if left == 0 || some.is_empty() {
            return Ok(());
        }
        position += some.len() as u64;
        bytes = Some(left);
    }
}
