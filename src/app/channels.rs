//! The built-in app `channels`: the path of the URL is the channel that a client listens to.
//!
//! What clients send is published there only when the server was started with
//! `--clients-publish`. `GET /` is a console page for people.

use std::borrow::Cow;

use super::{Accept, App, ClientId, Context, Frozen, Message, Response};
use crate::channel::ChannelName;
use crate::protocol::http::{Request, Status, decode_path};
use crate::protocol::websocket::Closed;

const CONSOLE: &str = include_str!("console.html");
/// Stands in the page once; the server sets it.
const SWITCH_OFF: &str = r#"<meta name="bellwether-clients-publish" content="off">"#;
const SWITCH_ON: &str = r#"<meta name="bellwether-clients-publish" content="on">"#;
const PUBLISHING_IS_OFF: &str = "clients may not publish here (--clients-publish)";

/// Publishes and subscribes by URL.
#[derive(Debug)]
pub struct Channels {
    clients_publish: bool,
    console: Cow<'static, str>,
    /// The channel of each client, only kept where clients publish.
    channels: std::collections::HashMap<ClientId, Box<str>>,
}

impl Channels {
    /// The app; `clients_publish` lets clients publish in the channel that they listen to.
    pub fn new(clients_publish: bool) -> Self {
        let console = if clients_publish {
            Cow::Owned(CONSOLE.replace(SWITCH_OFF, SWITCH_ON))
        } else {
            Cow::Borrowed(CONSOLE)
        };
        Self {
            clients_publish,
            console,
            channels: std::collections::HashMap::new(),
        }
    }
}

impl App for Channels {
    fn name(&self) -> &'static str {
        "channels"
    }

    fn upgrade(&mut self, cx: &mut Context<'_>, client: ClientId, request: &Request<'_>) {
        let path = match decode_path(request.path()) {
            Ok(path) => path,
            Err(error) => return cx.reject(client, Status::BAD_REQUEST, &error.to_string()),
        };
        let name = path.strip_prefix('/').unwrap_or(&path);
        match ChannelName::parse(name) {
            Ok(channel) => {
                cx.accept(client, &Accept::default());
                if self.clients_publish {
                    self.channels.insert(client, channel.as_str().into());
                }
                // The name has just been checked.
                let _checked: Result<(), _> = cx.subscribe(client, channel.as_str());
            }
            Err(error) => {
                let text = format!("the path names the channel, as in /news: {error}");
                cx.reject(client, Status::NOT_FOUND, &text);
            }
        }
    }

    fn message(&mut self, cx: &mut Context<'_>, client: ClientId, message: Message<'_>) {
        if !self.clients_publish {
            return cx.close(client, 1008, PUBLISHING_IS_OFF);
        }
        let Some(channel) = self.channels.get(&client) else {
            return;
        };
        if let Err(error) = cx.publish(channel, &message) {
            let code = match error {
                super::PublishError::TooLarge { .. } => 1009,
                super::PublishError::Full
                | super::PublishError::WouldBlock
                | super::PublishError::Name(_)
                | super::PublishError::Area(_) => 1013,
            };
            cx.close(client, code, &error.to_string());
        }
    }

    fn close(&mut self, _: &mut Context<'_>, client: ClientId, _: &Closed) {
        self.channels.remove(&client);
    }

    fn freeze(&mut self, client: ClientId) -> Frozen {
        match self.channels.get(&client) {
            Some(channel) => Frozen::State(channel.as_bytes().to_vec()),
            None => Frozen::Stateless,
        }
    }

    fn thaw(&mut self, _: &mut Context<'_>, client: ClientId, state: &[u8]) {
        if let Ok(channel) = std::str::from_utf8(state) {
            self.channels.insert(client, channel.into());
        }
    }

    fn moved(&mut self, client: ClientId) {
        self.channels.remove(&client);
    }

    fn request(&mut self, request: &Request<'_>) -> Response {
        if !matches!(request.method(), "GET" | "HEAD") {
            return Response::text(
                Status::METHOD_NOT_ALLOWED,
                "only GET and HEAD are understood\n",
            )
            .with("Allow", "GET, HEAD");
        }
        if request.path() != "/" {
            let text = "nothing here; the console is at /, and channels speak WebSocket\n";
            return Response::text(Status::NOT_FOUND, text);
        }
        let body = match &self.console {
            Cow::Borrowed(page) => Cow::Borrowed(page.as_bytes()),
            Cow::Owned(page) => Cow::Owned(page.clone().into_bytes()),
        };
        let headers = vec![
            ("Content-Type", Cow::Borrowed("text/html; charset=utf-8")),
            ("Cache-Control", Cow::Borrowed("no-cache")),
        ];
        Response {
            status: Status::OK,
            headers,
            body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_exactly_one_switch() {
        assert_eq!(CONSOLE.matches(SWITCH_OFF).count(), 1);
        assert!(Channels::new(true).console.contains(SWITCH_ON));
        assert!(!Channels::new(true).console.contains(SWITCH_OFF));
        assert!(Channels::new(false).console.contains(SWITCH_OFF));
    }
}
