//! A chat whose rooms span all workers: what one client says, everybody in its room gets.
//!
//! `cargo run -p bellwether-rust-examples --bin chat -- --processes 4 --socket :3032`, then connect
//! to `ws://localhost:3032/ROOM?name=ann` with as many clients as you like.

use std::process::ExitCode;

use bellwether::app::{self, Accept, Message, WebSocket};
use bellwether::protocol::websocket::Closed;

fn main() -> ExitCode {
    bellwether::main(app::per_client(chat))
}

async fn chat(mut ws: WebSocket) -> Result<(), Closed> {
    let room = format!("chat{}", ws.path());
    let name = name_in(ws.query()).unwrap_or("somebody").to_owned();
    ws.handshake(Accept::default()).await?;
    ws.subscribe(&room)?;
    ws.publish(&room, &Message::text(format!("* {name} is here")))?;
    let end = talk(&mut ws, &room, &name).await;
    // However it ended: a client that is gone can still be spoken of.
    ws.publish(&room, &Message::text(format!("* {name} has left")))?;
    end
}

/// Tells the room what a client says, until it goes or is sent away.
async fn talk(ws: &mut WebSocket, room: &str, name: &str) -> Result<(), Closed> {
    loop {
        let message = ws.recv().await?;
        match message.as_text() {
            Some(text) => ws.publish(room, &Message::text(format!("{name}: {text}")))?,
            None => return ws.close(1003, "only text is understood here"),
        }
    }
}

/// The value of `name=` in a query, as it stands.
fn name_in(query: &str) -> Option<&str> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix("name="))
        .filter(|name| !name.is_empty())
}
