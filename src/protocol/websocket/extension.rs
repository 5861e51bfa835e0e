//! The negotiation of permessage-deflate (RFC 7692 section 7.1): offers in, at most one agreement out. It must not know how data is
//! compressed, only what the compressor can do.

use std::io::Write as _;

/// The name in `Sec-WebSocket-Extensions`.
const NAME: &str = "permessage-deflate";
/// The window of DEFLATE where nothing smaller is agreed, as a power of two.
pub(super) const WINDOW_BITS_MAX: u8 = 15;
/// The smallest window that the compressor has; RFC 7692 would allow 8.
pub(super) const OWN_WINDOW_BITS_MIN: u8 = 9;
/// The smallest window that may be named.
const WINDOW_BITS_MIN: u8 = 8;

/// How the server wants to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflatePolicy {
    /// Whether any offer is accepted.
    pub enabled: bool,
    /// Compress each message by itself, so that no client needs a compressor of its own (about 260 KiB).
    pub server_no_context_takeover: bool,
    /// Ask the client for the same, so that none needs an inflater of its own (about 45 KiB).
    pub client_no_context_takeover: bool,
    /// Largest window of our compressor, 9 to 15.
    pub server_window_bits_max: u8,
    /// Largest window of the client's compressor, 8 to 15; asked only of clients that say they can.
    pub client_window_bits_max: u8,
    /// Messages with fewer bytes are sent as they are.
    pub threshold_bytes: usize,
    /// Effort of our compressor, 1 to 9.
    pub level: u32,
}

impl Default for DeflatePolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            server_window_bits_max: WINDOW_BITS_MAX,
            client_window_bits_max: WINDOW_BITS_MAX,
            threshold_bytes: 128,
            level: 1,
        }
    }
}

/// One well-formed offer of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// The client needs each of our messages compressed by itself.
    pub server_no_context_takeover: bool,
    /// The client will compress each message by itself.
    pub client_no_context_takeover: bool,
    /// The largest window that the client can inflate.
    pub server_max_window_bits: Option<u8>,
    /// The client can limit its window; with a value, it will anyway.
    pub client_max_window_bits: Option<Option<u8>>,
}

/// What both sides will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Our compressor starts anew with each message.
    pub server_no_context_takeover: bool,
    /// The client's compressor does.
    pub client_no_context_takeover: bool,
    /// Our window, if it is named in the answer; else 15.
    pub server_max_window_bits: Option<u8>,
    /// The client's window, if it is named in the answer.
    pub client_max_window_bits: Option<u8>,
}

impl Agreed {
    /// Whether the client can read a frame that was compressed once for everyone: by itself, with a window of 15 bits, without
    /// upsetting a compressor that remembers what was sent before.
    #[must_use]
    pub fn shares_broadcast(&self) -> bool {
        self.server_no_context_takeover && self.own_window_bits() == WINDOW_BITS_MAX
    }

    pub(super) fn own_window_bits(&self) -> u8 {
        self.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX)
    }

    /// Appends the value of the answer's `Sec-WebSocket-Extensions`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(NAME.as_bytes());
        if self.server_no_context_takeover {
            out.extend_from_slice(b"; server_no_context_takeover");
        }
        if self.client_no_context_takeover {
            out.extend_from_slice(b"; client_no_context_takeover");
        }
        // Writing to a vector cannot fail.
        if let Some(bits) = self.server_max_window_bits {
            let _written = write!(out, "; server_max_window_bits={bits}");
        }
        if let Some(bits) = self.client_max_window_bits {
            let _written = write!(out, "; client_max_window_bits={bits}");
        }
    }
}

/// Accepts the first offer that the policy and the compressor can satisfy (RFC 7692 section 7.1), or none.
///
/// An offer that needs a window of 8 bits for our messages is passed over, because the compressor starts at 9. A client that cannot limit its window
/// is accepted whatever `client_window_bits_max` says: the inflater always has 15.
#[must_use]
pub fn negotiate(offers: &[Offer], policy: &DeflatePolicy) -> Option<Agreed> {
    if policy.enabled {
        offers.iter().find_map(|offer| accept(offer, policy))
    } else {
        None
    }
}

fn accept(offer: &Offer, policy: &DeflatePolicy) -> Option<Agreed> {
    let server_bits_max = policy
        .server_window_bits_max
        .clamp(OWN_WINDOW_BITS_MIN, WINDOW_BITS_MAX);
    let client_bits_max = policy
        .client_window_bits_max
        .clamp(WINDOW_BITS_MIN, WINDOW_BITS_MAX);
    let server_max_window_bits = match offer.server_max_window_bits {
        Some(bits) if bits < OWN_WINDOW_BITS_MIN => return None,
        Some(bits) => Some(bits.min(server_bits_max)),
        None => Some(server_bits_max).filter(|bits| *bits < WINDOW_BITS_MAX),
    };
    let client_max_window_bits = offer
        .client_max_window_bits
        .map(|bits| bits.unwrap_or(WINDOW_BITS_MAX).min(client_bits_max))
        .filter(|bits| *bits < WINDOW_BITS_MAX);
    Some(Agreed {
        server_no_context_takeover: offer.server_no_context_takeover
            || policy.server_no_context_takeover,
        client_no_context_takeover: offer.client_no_context_takeover
            || policy.client_no_context_takeover,
        server_max_window_bits,
        client_max_window_bits,
    })
}

/// The offers of permessage-deflate in one `Sec-WebSocket-Extensions` value, in order. Other extensions and offers that break a rule of RFC 7692
/// section 7.1 are left out, which declines them.
pub(super) fn parse_offers(value: &str) -> impl Iterator<Item = Offer> + '_ {
    split_outside_quotes(value, ',').filter_map(parse_offer)
}

fn parse_offer(extension: &str) -> Option<Offer> {
    let mut words = split_outside_quotes(extension, ';').map(str::trim);
    if !words.next()?.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let mut offer = Offer::default();
    for word in words {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(unquoted(value.trim_start()))),
            None => (word, None),
        };
        // Each parameter at most once; a flag with a value and an unknown name are faults as well.
        match (name, value) {
            ("server_no_context_takeover", None) if !offer.server_no_context_takeover => {
                offer.server_no_context_takeover = true;
            }
            ("client_no_context_takeover", None) if !offer.client_no_context_takeover => {
                offer.client_no_context_takeover = true;
            }
            ("server_max_window_bits", Some(value)) if offer.server_max_window_bits.is_none() => {
                offer.server_max_window_bits = Some(window_bits(value)?);
            }
            ("client_max_window_bits", None) if offer.client_max_window_bits.is_none() => {
                offer.client_max_window_bits = Some(None);
            }
            ("client_max_window_bits", Some(value)) if offer.client_max_window_bits.is_none() => {
                offer.client_max_window_bits = Some(Some(window_bits(value)?));
            }
            _ => return None,
        }
    }
    Some(offer)
}

/// "8" to "15", without leading zeros (RFC 7692 section 7.1.2).
fn window_bits(value: &str) -> Option<u8> {
    let bits = value
        .parse()
        .ok()
        .filter(|_| value.bytes().all(|byte| byte.is_ascii_digit()))?;
    let is_right = (WINDOW_BITS_MIN..=WINDOW_BITS_MAX).contains(&bits) && !value.starts_with('0');
    is_right.then_some(bits)
}

fn unquoted(value: &str) -> &str {
    value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'))
        .unwrap_or(value)
}

fn split_outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |character| {
        quoted ^= character == '"';
        !quoted && character == separator
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer to `offered` under `policy`, as it is written; empty if nothing is agreed.
    fn answer(offered: &str, policy: DeflatePolicy) -> String {
        let offers: Vec<Offer> = parse_offers(offered).collect();
        let mut out = Vec::new();
        if let Some(agreed) = negotiate(&offers, &policy) {
            agreed.write(&mut out);
        }
        String::from_utf8(out).unwrap()
    }

    const TAKEOVER: DeflatePolicy = DeflatePolicy {
        enabled: true,
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_window_bits_max: 15,
        client_window_bits_max: 15,
        threshold_bytes: 0,
        level: 6,
    };

    #[test]
    fn every_parameter_is_answered_as_the_rfc_says() {
        for (offered, expected) in [
            ("permessage-deflate", "permessage-deflate"),
            ("Permessage-Deflate", "permessage-deflate"),
            (
                "permessage-deflate; client_max_window_bits",
                "permessage-deflate",
            ),
            (
                "permessage-deflate;client_max_window_bits=10",
                "permessage-deflate; client_max_window_bits=10",
            ),
            (
                "permessage-deflate; client_max_window_bits=\"8\"",
                "permessage-deflate; client_max_window_bits=8",
            ),
            (
                "permessage-deflate; server_max_window_bits=10",
                "permessage-deflate; server_max_window_bits=10",
            ),
            (
                "permessage-deflate; server_max_window_bits=15",
                "permessage-deflate; server_max_window_bits=15",
            ),
            (
                "permessage-deflate; server_no_context_takeover",
                "permessage-deflate; server_no_context_takeover",
            ),
            (
                "permessage-deflate; client_no_context_takeover",
                "permessage-deflate; client_no_context_takeover",
            ),
        ] {
            assert_eq!(answer(offered, TAKEOVER), expected, "{offered}");
        }
    }

    #[test]
    fn the_first_acceptable_offer_wins() {
        for (offered, expected) in [
            (
                "x-webkit-deflate-frame, permessage-deflate",
                "permessage-deflate",
            ),
            (
                "foo; bar=\"a, permessage-deflate\", permessage-deflate",
                "permessage-deflate",
            ),
            (
                "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=9",
                "permessage-deflate; server_max_window_bits=9",
            ),
            (
                "permessage-deflate; unknown, permessage-deflate",
                "permessage-deflate",
            ),
        ] {
            assert_eq!(answer(offered, TAKEOVER), expected, "{offered}");
        }
    }

    #[test]
    fn invalid_offers_are_declined() {
        for parameters in [
            "server_no_context_takeover=1",
            "client_no_context_takeover=true",
            "server_max_window_bits",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=08",
            "server_max_window_bits=+9",
            "server_max_window_bits=9; server_max_window_bits=9",
            "client_max_window_bits=7",
            "client_max_window_bits=",
            "client_max_window_bits; client_max_window_bits",
            "server_no_context_takeover; server_no_context_takeover",
            "unknown",
            "",
        ] {
            assert_eq!(
                answer(&format!("permessage-deflate; {parameters}"), TAKEOVER),
                "",
                "{parameters}"
            );
        }
        for other in [
            "",
            ",",
            "x-webkit-deflate-frame",
            "permessage-deflat",
            "permessage-bzip2",
        ] {
            assert_eq!(answer(other, TAKEOVER), "", "{other}");
        }
    }

    #[test]
    fn the_policy_asks_for_what_saves_memory() {
        let browser = "permessage-deflate; client_max_window_bits";
        assert_eq!(
            answer(browser, DeflatePolicy::default()),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        );
        let small = DeflatePolicy {
            server_window_bits_max: 10,
            client_window_bits_max: 11,
            ..TAKEOVER
        };
        assert_eq!(
            answer(browser, small),
            "permessage-deflate; server_max_window_bits=10; client_max_window_bits=11"
        );
        assert_eq!(
            answer("permessage-deflate", small),
            "permessage-deflate; server_max_window_bits=10"
        );
        assert_eq!(
            answer(
                browser,
                DeflatePolicy {
                    enabled: false,
                    ..TAKEOVER
                }
            ),
            ""
        );
    }

    #[test]
    fn a_shared_frame_needs_no_memory_and_the_full_window() {
        let agreed = |offered: &str| {
            let offers: Vec<Offer> = parse_offers(offered).collect();
            negotiate(&offers, &TAKEOVER).unwrap()
        };
        assert!(agreed("permessage-deflate; server_no_context_takeover").shares_broadcast());
        assert!(!agreed("permessage-deflate").shares_broadcast());
        assert!(
            !agreed("permessage-deflate; server_no_context_takeover; server_max_window_bits=14")
                .shares_broadcast()
        );
    }
}
