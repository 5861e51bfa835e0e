//! A stream: Conway's game of life, drawn into an area 30 times a second and sent from there to every browser.
//!
//! `cargo run -p bellwether-rust-examples --bin stream -- --processes 4 --socket :3032 --sharedarea
//! size=20752,name=frames`, then open `http://localhost:3032/`.
//!
//! The board lives in the area, and nobody owns it: each worker wakes when a frame is due, and the first one draws it.
//! A worker that dies takes nothing with it: another one draws on from what lies there. Whoever is slow misses frames:
//! one that was drawn over is not sent.

mod life;

use std::borrow::Cow;
use std::process::ExitCode;

use bellwether::app::{App, ClientId, Context, Message, PublishError, Response};
use bellwether::protocol::http::{Request, Status};
use bellwether::protocol::websocket::Kind;
use bellwether::sharedarea::{Area, AreaError};

use life::{Board, FRAME_BYTES};

const PAGE: &str = include_str!("page.html");
const CHANNEL: &str = "frames";
const FRAME_MS: u64 = 33;
/// How much later those look that were not first.
const STAND_BY_MS: u64 = 8;
const NO_AREA: &str = "this server needs --sharedarea size=20752,name=frames";

/// The app. Each worker has one, and all of them share the area.
#[derive(Debug, Default)]
struct Stream {
    due_ms: u64,
}

impl App for Stream {
    fn name(&self) -> &'static str {
        "stream"
    }

    fn open(&mut self, cx: &mut Context<'_>, client: ClientId) {
        if cx.shared_area().find_area(CHANNEL).is_err() {
            return cx.close(client, 1011, NO_AREA);
        }
        if let Err(error) = cx.subscribe(client, CHANNEL) {
            cx.close(client, 1011, &error.to_string());
        }
    }

    fn message(&mut self, cx: &mut Context<'_>, client: ClientId, _: Message<'_>) {
        cx.close(client, 1008, "this is a stream: there is nothing to say");
    }

    fn request(&mut self, request: &Request<'_>) -> Response {
        if request.path() != "/" {
            return Response::text(Status::NOT_FOUND, "nothing here; the stream is at /\n");
        }
        Response {
            status: Status::OK,
            headers: vec![("Content-Type", Cow::Borrowed("text/html; charset=utf-8"))],
            body: Cow::Borrowed(PAGE.as_bytes()),
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        let now_ms = cx.now_ms();
        if now_ms >= self.due_ms {
            // Without an area there is no stream, and who comes is told so. In a busy one somebody else draws.
            let wait_ms = advance(cx).unwrap_or(FRAME_MS);
            self.due_ms = now_ms + wait_ms;
        }
        cx.wake_at(self.due_ms);
        false
    }
}

/// Draws and broadcasts the next frame if it is time and no other worker has. Returns the milliseconds until this
/// worker looks again.
fn advance(cx: &mut Context<'_>) -> Result<u64, AreaError> {
    let wall_ms = cx.wall_ms();
    let area = cx.shared_area().find_area(CHANNEL)?;
    let mut bytes = Vec::new();
    area.read(0, Some(FRAME_BYTES), &mut bytes)?;
    let mut board = Board::of_frame(&bytes);
    let due_ms = board.drawn_ms() + FRAME_MS;
    if wall_ms < due_ms {
        // Whoever has drawn it comes first the next time as well; the others are there if it does not.
        return Ok(due_ms + STAND_BY_MS - wall_ms);
    }
    let before = board.number();
    // A frame that is only a little late keeps its time, or they all drift.
    let kept = wall_ms < due_ms + FRAME_MS;
    board.step(if kept { due_ms } else { wall_ms });
    if !replace(&area, before, &board.frame())? {
        return Ok(FRAME_MS + STAND_BY_MS);
    }
    let sent = cx.broadcast_from_area(area.id(), 0, Some(FRAME_BYTES), CHANNEL, Kind::Binary);
    // A log that is full now has room for the next frame.
    let _skipped: Result<(), PublishError> = sent;
    Ok((board.drawn_ms() + FRAME_MS).saturating_sub(wall_ms))
}

/// Writes a frame in the place of the one with this number, if that is still there.
fn replace(area: &Area, before: u32, frame: &[u8]) -> Result<bool, AreaError> {
    area.wlock()?;
    let written = area.read32(0).and_then(|number| {
        if number == before {
            area.write(0, frame)?;
        }
        Ok(number == before)
    });
    area.unlock()?;
    written
}

fn main() -> ExitCode {
    bellwether::main(Stream::default())
}
