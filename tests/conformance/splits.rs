//! Properties of the connection: how bytes are cut into reads makes no difference, and whatever comes in, the server's own frames are right.

use bellwether::protocol::websocket::{DeflatePolicy, Limits, Offer, negotiate};
use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

use crate::peer::{EchoServer, FIN, RSV1, client_frame, parse_server_frames};

const LIMITS: Limits = Limits {
    message_bytes_max: 2000,
    fragments_max: 6,
};

/// Everything that can be seen of a run: bytes sent, how it ended.
fn run(reads: &[&[u8]], takeover: Option<bool>) -> (Vec<u8>, String) {
    let takeover_policy = DeflatePolicy {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        threshold_bytes: 20,
        ..DeflatePolicy::default()
    };
    let policy = if takeover == Some(true) {
        takeover_policy
    } else {
        DeflatePolicy::default()
    };
    let agreed = takeover.and_then(|_| negotiate(&[Offer::default()], &policy));
    let mut server = EchoServer::new(LIMITS, policy, agreed);
    for read in reads {
        server.feed(read);
    }
    (server.out, format!("{:?}", server.closed))
}

/// A frame that is mostly right.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        3 => "[a-zäöü€]{0,60}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => (0_usize..3000).prop_map(|bytes| vec![b'x'; bytes]),
    ];
    let opcode =
        prop_oneof![6 => 0_u8..=2, 2 => Just(9), 2 => Just(10), 1 => Just(8), 1 => 0_u8..16];
    let flags = prop_oneof![6 => Just(FIN), 3 => Just(0), 3 => Just(FIN | RSV1), 1 => Just(RSV1), 1 => 0_u8..16];
    (payload, opcode, flags).prop_map(|(payload, opcode, flags)| {
        let first = (flags & 0xf0) | opcode;
        if first & RSV1 == 0 {
            return client_frame(first, &payload);
        }
        let mut compressed = Vec::with_capacity(payload.len() + 100);
        Compress::new(Compression::new(6), false)
            .compress_vec(&payload, &mut compressed, FlushCompress::Sync)
            .unwrap();
        client_frame(first, &compressed[..compressed.len() - 4])
    })
}

/// Frames, sometimes with one byte changed or the end missing.
fn any_wire() -> impl Strategy<Value = Vec<u8>> {
    let frames = prop::collection::vec(any_frame(), 1..8).prop_map(|frames| frames.concat());
    (frames, any::<prop::sample::Index>(), any::<u8>(), 0..4).prop_map(
        |(mut wire, at, byte, damage)| {
            let at = at.index(wire.len());
            match damage {
                0 => wire[at] = byte,
                1 => wire.truncate(at),
                _ => {}
            }
            wire
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn any_split_gives_the_same_events_and_the_same_output(
        wire in any_wire(),
        takeover in prop::option::of(any::<bool>()),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let whole = run(&[&wire], takeover);
        let octets: Vec<&[u8]> = wire.chunks(1).collect();
        prop_assert_eq!(&run(&octets, takeover), &whole);

        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
        ends.extend([0, wire.len()]);
        ends.sort_unstable();
        let reads: Vec<&[u8]> = ends.windows(2).map(|pair| &wire[pair[0]..pair[1]]).collect();
        prop_assert_eq!(&run(&reads, takeover), &whole);
    }

    #[test]
    fn the_server_speaks_right_whatever_it_hears(wire: Vec<u8>, takeover in prop::option::of(any::<bool>())) {
        let (out, _closed) = run(&[&wire], takeover);
        parse_server_frames(&out);
    }
}
