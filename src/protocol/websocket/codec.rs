//! What the connections of one worker share: limits, scratch memory, and the deflate state of all who agreed to `no_context_takeover`.
//! It must not know any one connection.

use super::deflate::{CHUNK_BYTES, Deflater, Inflater};
use super::extension::{Agreed, DeflatePolicy, OWN_WINDOW_BITS_MIN, WINDOW_BITS_MAX};
use super::frame::{Kind, append_frame};

/// Scratch memory that is kept between messages; more is given back.
const SCRATCH_BYTES_KEPT: usize = 64 * 1024;
/// One shared compressor for each window that can be agreed.
const WINDOWS: usize = (WINDOW_BITS_MAX - OWN_WINDOW_BITS_MIN + 1) as usize;

/// Limits of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a message after inflating; 1009 beyond.
    pub message_bytes_max: usize,
    /// Frames of a message; 1008 beyond. More than 65,536 are needed to pass Autobahn 9.3.1.
    pub fragments_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 1024 * 1024,
            fragments_max: 131_072,
        }
    }
}

impl Limits {
    /// Bytes of a compressed message before inflating. Data that does not compress grows a little, more in many fragments.
    pub(super) fn compressed_bytes_max(&self) -> usize {
        self.message_bytes_max
            .saturating_add(self.message_bytes_max / 16)
            .saturating_add(1024)
    }
}

/// One a worker, lent to each call of a [`Connection`](super::Connection). Deflate state is made when it is first needed.
#[derive(Debug)]
pub struct Codec {
    limits: Limits,
    policy: DeflatePolicy,
    inflater: Option<Inflater>,
    deflaters: [Option<Deflater>; WINDOWS],
    chunk: Vec<u8>,
    scratch: Vec<u8>,
}

impl Codec {
    /// A codec without any deflate state yet.
    #[must_use]
    pub fn new(limits: Limits, deflate: DeflatePolicy) -> Self {
        Self {
            limits,
            policy: deflate,
            inflater: None,
            deflaters: [const { None }; WINDOWS],
            chunk: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// The limits that every message is held to.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The policy for [`negotiate`](super::negotiate).
    #[must_use]
    pub fn deflate_policy(&self) -> &DeflatePolicy {
        &self.policy
    }

    /// Appends `payload` as one compressed frame that every client whose [`Agreed::shares_broadcast`] is true can read. False, and
    /// nothing appended, if compression is off, the payload is below the threshold, or it does not get smaller.
    pub fn encode_shared_frame(&mut self, kind: Kind, payload: &[u8], out: &mut Vec<u8>) -> bool {
        let shared = Agreed {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            server_max_window_bits: None,
            client_max_window_bits: None,
        };
        self.policy.enabled && self.append_compressed(shared, None, kind, payload, out)
    }

    /// Appends `payload` compressed, by `own` if the client has a compressor of its own. False, and nothing appended, if it is not worth it.
    pub(super) fn append_compressed(
        &mut self,
        agreed: Agreed,
        own: Option<&mut Option<Deflater>>,
        kind: Kind,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> bool {
        if payload.len() < self.policy.threshold_bytes {
            return false;
        }
        let window_bits = agreed.own_window_bits();
        let level = self.policy.level;
        let is_shared = own.is_none();
        let Some(place) = own.or_else(|| {
            self.deflaters
                .get_mut(usize::from(window_bits.saturating_sub(OWN_WINDOW_BITS_MIN)))
        }) else {
            return false;
        };
        let deflater = place.get_or_insert_with(|| Deflater::new(window_bits, level));
        let is_smaller = deflater.deflate(payload, &mut self.scratch);
        if is_smaller {
            append_frame(kind, true, &self.scratch, out);
            if is_shared {
                deflater.reset();
            }
        }
        self.scratch.clear();
        self.scratch.shrink_to(SCRATCH_BYTES_KEPT);
        is_smaller
    }

    /// The window of a client's own inflater; `None` when its last message was broken off.
    pub(super) fn window(&mut self, own: &mut Inflater) -> Option<Vec<u8>> {
        self.chunk.resize(CHUNK_BYTES, 0);
        own.window(&mut self.chunk)
    }

    /// An inflater for one client, with the window that it had elsewhere; `None` if that is too long for one.
    pub(super) fn inflater_with(&mut self, window: &[u8]) -> Option<Inflater> {
        self.chunk.resize(CHUNK_BYTES, 0);
        let mut inflater = Inflater::new();
        inflater.fill(window, &mut self.chunk).then_some(inflater)
    }

    /// Inflates a whole message, by `own` if the client's compressor remembers earlier ones.
    pub(super) fn inflate(
        &mut self,
        own: Option<&mut Option<Inflater>>,
        kind: Kind,
        compressed: &[u8],
    ) -> Result<Vec<u8>, super::Violation> {
        self.chunk.resize(CHUNK_BYTES, 0);
        let is_shared = own.is_none();
        let inflater = own
            .unwrap_or(&mut self.inflater)
            .get_or_insert_with(Inflater::new);
        let inflated = inflater.inflate(
            kind,
            compressed,
            self.limits.message_bytes_max,
            &mut self.chunk,
        );
        if is_shared {
            // Whatever came of it, the next message may be another client's.
            inflater.reset();
        }
        inflated
    }
}
