//! What a peer can do wrong once the connection is open, and the close code that each fault is answered with (RFC 6455 section 7.4.1).

use super::CloseCode;

/// A fault of the peer. `Display` is what the close frame's reason says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Section 5.1: a client must mask.
    #[error("frame is not masked")]
    Unmasked,
    /// Section 5.2: RSV2, RSV3, or an RSV1 that nothing agreed on gives a meaning to.
    #[error("reserved bit is set")]
    ReservedBit,
    /// Section 5.2: opcodes 3 to 7 and 11 to 15.
    #[error("opcode is reserved")]
    ReservedOpcode,
    /// Section 5.5: a control frame without FIN.
    #[error("control frame is fragmented")]
    ControlFragmented,
    /// Section 5.5: a control frame of more than 125 bytes.
    #[error("control frame is too long")]
    ControlTooLong,
    /// Section 5.2: a length in more bytes than it needs.
    #[error("frame length is not minimal")]
    LengthNotMinimal,
    /// Section 5.2: a 64-bit length with its top bit set.
    #[error("frame length has its top bit set")]
    LengthTopBit,
    /// Section 5.4: a continuation frame with nothing to continue.
    #[error("nothing to continue")]
    UnexpectedContinuation,
    /// Section 5.4: a new message inside a fragmented one.
    #[error("message inside a fragmented message")]
    InterleavedMessage,
    /// Section 5.5.1: a close payload of one byte.
    #[error("close frame is malformed")]
    ClosePayload,
    /// Section 7.4: a close code that must not be sent.
    #[error("close code is not allowed")]
    CloseCode,
    /// Section 8.1: a text message or close reason that is not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// RFC 7692 section 7.2.2: a compressed message that is no DEFLATE data.
    #[error("compressed data is malformed")]
    BadDeflate,
    /// More bytes than `message_bytes_max`, announced, summed up over fragments, or inflated.
    #[error("message is too big")]
    MessageTooBig,
    /// More fragments than `fragments_max`.
    #[error("message has too many fragments")]
    TooManyFragments,
}

impl Violation {
    /// The code of the close frame that answers the fault.
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Unmasked
            | Self::ReservedBit
            | Self::ReservedOpcode
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::LengthNotMinimal
            | Self::LengthTopBit
            | Self::UnexpectedContinuation
            | Self::InterleavedMessage
            | Self::ClosePayload
            | Self::CloseCode => CloseCode::PROTOCOL_ERROR,
            Self::NotUtf8 | Self::BadDeflate => CloseCode::INVALID_PAYLOAD,
            Self::MessageTooBig => CloseCode::MESSAGE_TOO_BIG,
            Self::TooManyFragments => CloseCode::POLICY_VIOLATION,
        }
    }
}
