//! Close codes and the payload of a close frame (RFC 6455 sections 5.5.1 and 7.4); it must not know when a connection closes.

use std::fmt;

use super::Violation;
use super::frame::{CONTROL_BYTES_MAX, Opcode, write_control};

/// Longest reason: what a control frame holds behind the two bytes of the code.
const REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// A close code. The constants are the registered ones; 3000 to 3999 are for libraries, 4000 to 4999 for apps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// 1000: the purpose is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the server stops, or the page is left.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a kind of data that the receiver does not take.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1005, never sent: the close frame had no code.
    pub const NO_STATUS: Self = Self(1005);
    /// 1006, never sent: the stream ended without a close frame.
    pub const ABNORMAL: Self = Self(1006);
    /// 1007: text that is not UTF-8, or data that does not inflate.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1010, sent by clients only: an extension is missing.
    pub const EXTENSION_REQUIRED: Self = Self(1010);
    /// 1011: the server cannot go on.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the server restarts, come back.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: too busy, come back later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 1014
    pub const BAD_GATEWAY: Self = Self(1014);

    /// Whether the code may stand in a close frame (section 7.4.2 and the registry).
    #[must_use]
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a connection ended; told exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The peer's code, 1005 if its close frame had none, 1006 if there was no close frame; with a fault the code that we sent.
    pub code: CloseCode,
    /// The peer's reason, or what the fault was.
    pub reason: String,
    /// Whether both sides sent a close frame.
    pub clean: bool,
    /// What the peer did wrong, if that is why.
    pub fault: Option<Violation>,
}

/// Reads a close frame's payload: nothing, or a code and a reason.
pub(super) fn parse_payload(payload: &[u8]) -> Result<(Option<CloseCode>, &str), Violation> {
    let (code, reason) = match payload {
        [] => return Ok((None, "")),
        [_] => return Err(Violation::ClosePayload),
        [high, low, reason @ ..] => (CloseCode(u16::from_be_bytes([*high, *low])), reason),
    };
    if !code.is_sendable() {
        return Err(Violation::CloseCode);
    }
    let reason = std::str::from_utf8(reason).map_err(|_| Violation::NotUtf8)?;
    Ok((Some(code), reason))
}

/// Appends a close frame. Without a code, or with one that must not be sent, its payload is empty; the reason is cut to what fits.
pub(super) fn write_close(code: Option<CloseCode>, reason: &str, out: &mut Vec<u8>) {
    let Some(code) = code.filter(|code| code.is_sendable()) else {
        write_control(Opcode::Close, &[], out);
        return;
    };
    let reason = reason
        .get(..reason.floor_char_boundary(REASON_BYTES_MAX))
        .unwrap_or_default();
    write_control(
        Opcode::Close,
        &[&code.0.to_be_bytes(), reason.as_bytes()],
        out,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sendable_codes_are_the_registered_and_the_private_ones() {
        let sendable: Vec<u16> = (0..=u16::MAX)
            .filter(|code| CloseCode(*code).is_sendable())
            .collect();
        let expected: Vec<u16> = (1000..=1003)
            .chain(1007..=1014)
            .chain(3000..=4999)
            .collect();
        assert_eq!(sendable, expected);
    }

    #[test]
    fn a_payload_is_empty_or_a_code_and_utf8() {
        assert_eq!(parse_payload(b""), Ok((None, "")));
        assert_eq!(
            parse_payload(b"\x03\xe8"),
            Ok((Some(CloseCode::NORMAL), ""))
        );
        assert_eq!(
            parse_payload(b"\x0f\xa1ok"),
            Ok((Some(CloseCode(4001)), "ok"))
        );
        assert_eq!(parse_payload(b"\x03"), Err(Violation::ClosePayload));
        assert_eq!(parse_payload(b"\x03\xed"), Err(Violation::CloseCode));
        assert_eq!(parse_payload(b"\x03\xe8\xff"), Err(Violation::NotUtf8));
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let mut out = Vec::new();
        write_close(Some(CloseCode::NORMAL), &"\u{20ac}".repeat(50), &mut out);
        assert_eq!(&out[..4], [0x88, 2 + 123, 0x03, 0xe8]);
        assert_eq!(
            std::str::from_utf8(&out[4..]),
            Ok("\u{20ac}".repeat(41).as_str())
        );
        out.clear();
        write_close(
            Some(CloseCode::NORMAL),
            &format!("a{}", "\u{20ac}".repeat(50)),
            &mut out,
        );
        assert_eq!(out.len(), 2 + 2 + 1 + 3 * 40);
    }

    #[test]
    fn a_code_that_must_not_be_sent_is_left_out() {
        for code in [
            None,
            Some(CloseCode::NO_STATUS),
            Some(CloseCode::ABNORMAL),
            Some(CloseCode(5000)),
        ] {
            let mut out = Vec::new();
            write_close(code, "why", &mut out);
            assert_eq!(out, [0x88, 0]);
        }
    }
}
