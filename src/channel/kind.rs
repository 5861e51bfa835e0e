//! What an entry of the log says of the kind of its message.

use crate::protocol::websocket::Kind;
use crate::sharedarea::EntryFlags;

/// The flags of a message of this kind.
pub fn flags_of(kind: Kind) -> EntryFlags {
    match kind {
        Kind::Text => EntryFlags::TEXT,
        Kind::Binary => EntryFlags::BINARY,
    }
}

/// The kind of a message with these flags: whatever does not say that it is text is binary.
pub fn kind_of(flags: EntryFlags) -> Kind {
    if flags.contains(EntryFlags::TEXT) {
        Kind::Text
    } else {
        Kind::Binary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_survive_whatever_else_an_entry_says() {
        for kind in [Kind::Text, Kind::Binary] {
            let flags = flags_of(kind);
            assert_eq!(kind_of(flags), kind);
            assert_eq!(kind_of(flags | EntryFlags::REF), kind);
        }
    }
}
