//! What the server itself starts: sending, pinging, closing, and the end of the stream (RFC 6455 sections 5.5, 7.1).

use bellwether::protocol::websocket::{
    CloseCode, Closed, Closing, Codec, Connection, DeflatePolicy, Event, Kind, Limits, State,
    Violation, encode_frame, frame_header,
};

use crate::peer::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, client_frame, client_header,
};

struct Open {
    connection: Connection,
    codec: Codec,
    out: Vec<u8>,
}

impl Open {
    fn new() -> Self {
        let codec = Codec::new(Limits::default(), DeflatePolicy::default());
        Self {
            connection: Connection::new(None),
            codec,
            out: Vec::new(),
        }
    }

    /// The events of one read, owned.
    fn feed(&mut self, bytes: &[u8]) -> Vec<Event<'static>> {
        let mut input = bytes.to_vec();
        let mut rest = input.as_mut_slice();
        let mut events = Vec::new();
        loop {
            let step = self
                .connection
                .receive(rest, &mut self.codec, &mut self.out);
            let consumed = step.consumed;
            let Some(event) = step.event else {
                return events;
            };
            events.push(owned(event));
            rest = &mut rest[consumed..];
        }
    }

    fn send(&mut self, text: &str) -> Result<(), Closing> {
        self.connection
            .send(Kind::Text, text.as_bytes(), &mut self.codec, &mut self.out)
    }
}

fn owned(event: Event<'_>) -> Event<'static> {
    match event {
        Event::Message { kind, payload } => Event::Message {
            kind,
            payload: payload.into_owned().into(),
        },
        Event::Ping(payload) => Event::Ping(payload.into_owned().into()),
        Event::Pong(payload) => Event::Pong(payload.into_owned().into()),
        Event::Closed(closed) => Event::Closed(closed),
    }
}

fn clean(code: CloseCode, reason: &str) -> Event<'static> {
    Event::Closed(Closed {
        code,
        reason: reason.to_owned(),
        clean: true,
        fault: None,
    })
}

#[test]
fn a_server_that_closes_waits_for_the_peers_close_frame() {
    let mut open = Open::new();
    open.connection
        .close(Some(CloseCode::GOING_AWAY), "restart", &mut open.out);
    assert_eq!(open.out, b"\x88\x09\x03\xe9restart");
    assert_eq!(open.connection.state(), State::LocalClosing);

    let sent = open.out.clone();
    open.connection
        .close(Some(CloseCode::NORMAL), "again", &mut open.out);
    open.connection.ping(b"?", &mut open.out);
    assert_eq!(open.send("late"), Err(Closing));
    assert_eq!(open.out, sent, "nothing is sent behind a close frame");

    assert_eq!(open.feed(&client_frame(FIN | TEXT, b"on its way")), []);
    assert_eq!(open.feed(&client_frame(FIN | PING, b"?")), []);
    assert_eq!(
        open.feed(&client_frame(FIN | CLOSE, b"\x03\xe9bye")),
        [clean(CloseCode::GOING_AWAY, "bye")]
    );
    assert_eq!(open.out, sent);
    assert_eq!(open.connection.state(), State::Closed);
    assert_eq!(open.feed(b"anything"), []);
    assert_eq!(open.connection.end_of_stream(), None);
}

#[test]
fn a_message_that_is_on_its_way_when_the_server_closes_is_dropped_unread() {
    let frames = [
        client_frame(TEXT, b"a\xff is no text, but nobody reads it"),
        client_frame(CONTINUATION, b"b"),
        client_frame(FIN | PING, b"?"),
        client_frame(FIN | CONTINUATION, &[b'c'; 300]),
        client_frame(FIN | BINARY, &[b'd'; 300]),
        client_frame(FIN | CLOSE, b""),
    ]
    .concat();
    for read_bytes in [1, 7, 5000] {
        let mut open = Open::new();
        assert_eq!(open.feed(&client_header(FIN | BINARY, 6)), []);
        assert_eq!(open.feed(b"abc"), []);
        open.connection.close(None, "", &mut open.out);
        assert_eq!(open.feed(b"def"), []);
        let events: Vec<_> = frames
            .chunks(read_bytes)
            .flat_map(|read| open.feed(read))
            .collect();
        assert_eq!(events, [clean(CloseCode::NO_STATUS, "")]);
        assert_eq!(open.out, [0x88, 0]);
    }
}

#[test]
fn a_fault_while_closing_ends_without_a_second_close_frame() {
    let mut open = Open::new();
    open.connection
        .close(Some(CloseCode::NORMAL), "", &mut open.out);
    let sent = open.out.clone();
    let events = open.feed(&[0x81, 0x01, b'a']);
    let [
        Event::Closed(Closed {
            clean: false,
            fault: Some(Violation::Unmasked),
            ..
        }),
    ] = events.as_slice()
    else {
        panic!("{events:?}");
    };
    assert_eq!(open.out, sent);
}

#[test]
fn a_stream_that_just_ends_is_1006_and_told_once() {
    let mut open = Open::new();
    assert_eq!(open.feed(&client_header(FIN | BINARY, 100)), []);
    assert_eq!(open.feed(b"half a message"), []);
    assert!(!open.connection.is_idle());
    let closed = open.connection.end_of_stream().expect("not told yet");
    assert_eq!(
        (closed.code, closed.clean, closed.fault),
        (CloseCode::ABNORMAL, false, None)
    );
    assert_eq!(open.connection.end_of_stream(), None);
    assert_eq!(open.connection.state(), State::Closed);
    assert!(open.connection.is_idle());
    assert_eq!(open.out, b"");

    let mut closing = Open::new();
    closing
        .connection
        .close(Some(CloseCode::NORMAL), "", &mut closing.out);
    assert!(
        closing
            .connection
            .end_of_stream()
            .is_some_and(|closed| !closed.clean)
    );
}

#[test]
fn pings_go_out_and_pongs_come_back() {
    let mut open = Open::new();
    open.connection.ping(b"beat", &mut open.out);
    assert_eq!(open.out, b"\x89\x04beat");
    assert_eq!(
        open.feed(&client_frame(FIN | PONG, b"beat")),
        [Event::Pong(b"beat".into())]
    );
    assert_eq!(
        open.feed(&client_frame(FIN | PING, b"you?")),
        [Event::Ping(b"you?".into())]
    );
    assert_eq!(open.out, b"\x89\x04beat\x8a\x04you?");
    open.out.clear();
    open.connection.ping(&[b'x'; 200], &mut open.out);
    assert_eq!(
        (open.out[1], open.out.len()),
        (125, 127),
        "cut to what a control frame holds"
    );
}

#[test]
fn what_is_stored_for_everyone_is_what_a_connection_would_send() {
    for bytes in [0, 1, 125, 126, 65_535, 65_536] {
        let text = "x".repeat(bytes);
        let mut open = Open::new();
        open.send(&text).expect("it is open");
        let mut stored = Vec::new();
        encode_frame(Kind::Text, text.as_bytes(), &mut stored);
        assert_eq!(open.out, stored);
        let header = frame_header(Kind::Text, false, bytes);
        assert_eq!(header.as_bytes(), &stored[..stored.len() - bytes]);
    }
}

#[test]
fn the_payload_of_a_whole_frame_is_lent_not_copied() {
    let mut open = Open::new();
    let mut input = client_frame(FIN | TEXT, b"lent");
    let place = input[6..].as_ptr();
    let step = open
        .connection
        .receive(&mut input, &mut open.codec, &mut open.out);
    let Some(Event::Message { payload, .. }) = step.event else {
        panic!("a message")
    };
    assert_eq!((payload.as_ptr(), &*payload), (place, &b"lent"[..]));
}
