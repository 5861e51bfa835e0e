//! Every message goes back to who sent it, written as one `async fn` per client.
//!
//! `cargo run -p bellwether-rust-examples --bin echo -- --socket :3032`

use std::process::ExitCode;

use bellwether::app::{self, Accept, WebSocket};
use bellwether::protocol::websocket::Closed;

fn main() -> ExitCode {
    bellwether::main(app::per_client(echo))
}

async fn echo(mut ws: WebSocket) -> Result<(), Closed> {
    ws.handshake(Accept::default()).await?;
    loop {
        let message = ws.recv().await?;
        ws.send(&message)?;
    }
}
