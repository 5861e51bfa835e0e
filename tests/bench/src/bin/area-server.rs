//! A server whose messages are an area: who sends eight bytes has them written to its start, and the whole area
//! broadcast to everybody. It takes the command line of `master` and needs `--sharedarea size=BYTES`.

use std::process::ExitCode;

use bellwether::app::{App, ClientId, Context, Message};
use bellwether::protocol::websocket::Kind;
use bellwether::sharedarea::{Area, AreaError};
use bellwether_bench::frames::Template;

const CHANNEL: &str = "bench";

struct AreaServer;

impl App for AreaServer {
    fn name(&self) -> &'static str {
        "area-server"
    }

    fn open(&mut self, cx: &mut Context<'_>, client: ClientId) {
        if let Err(error) = cx.subscribe(client, CHANNEL) {
            cx.close(client, 1011, &error.to_string());
        }
    }

    fn message(&mut self, cx: &mut Context<'_>, client: ClientId, message: Message<'_>) {
        let written = cx.shared_area().area(0).and_then(|area| {
            fill(&area)?;
            area.write(0, &message.payload)
        });
        let sent = written.map_err(|error| error.to_string()).and_then(|()| {
            cx.broadcast_from_area(0, 0, None, CHANNEL, Kind::Binary)
                .map_err(|error| error.to_string())
        });
        if let Err(error) = sent {
            cx.close(client, 1011, &error);
        }
    }
}

/// Writes what the generator expects, the first time.
fn fill(area: &Area) -> Result<(), AreaError> {
    if area.read8(area.bytes() - 1)? == 0 {
        let bytes = usize::try_from(area.bytes()).unwrap_or(usize::MAX);
        let mut payload = Vec::new();
        Template::server(bytes).append_payload(0, &mut payload);
        area.write(0, &payload)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    bellwether::main(AreaServer)
}
