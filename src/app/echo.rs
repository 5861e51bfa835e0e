//! The built-in app `echo`: every message goes back to who sent it.

use super::{App, ClientId, Context, Message, SendError};

/// Echoes text and binary messages.
#[derive(Debug, Default, Clone, Copy)]
pub struct Echo;

impl App for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn message(&mut self, cx: &mut Context<'_>, client: ClientId, message: Message<'_>) {
        match cx.send(client, &message) {
            Ok(()) | Err(SendError::NotOpen) => {}
            Err(SendError::Full | SendError::Area(_)) => {
                cx.close(client, 1013, "too much is waiting for you");
            }
        }
    }
}
