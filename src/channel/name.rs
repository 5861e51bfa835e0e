//! What a channel may be called.

/// Longest name in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 200;

/// A checked channel name: 1 to [`NAME_BYTES_MAX`] bytes of UTF-8 without control characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChannelName<'n>(&'n str);

/// Why a text is no channel name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing in it.
    #[error("a channel needs a name")]
    Empty,
    /// More than [`NAME_BYTES_MAX`] bytes.
    #[error("a channel name has at most {NAME_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// A control character, which would garble logs and terminals.
    #[error("a channel name has no control characters, this one has one at byte {0}")]
    Control(usize),
}

impl<'n> ChannelName<'n> {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`InvalidName`] says which rule it breaks.
    pub fn parse(text: &'n str) -> Result<Self, InvalidName> {
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(InvalidName::TooLong(text.len()));
        }
        match text.char_indices().find(|(_, letter)| letter.is_control()) {
            Some((at, _)) => Err(InvalidName::Control(at)),
            None => Ok(Self(text)),
        }
    }

    /// The name.
    pub fn as_str(self) -> &'n str {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert_eq!(
            ChannelName::parse("news/räume 1").unwrap().as_str(),
            "news/räume 1"
        );
        assert!(ChannelName::parse(&"x".repeat(200)).is_ok());
        assert_eq!(ChannelName::parse(""), Err(InvalidName::Empty));
        assert_eq!(
            ChannelName::parse(&"x".repeat(201)),
            Err(InvalidName::TooLong(201))
        );
        assert_eq!(ChannelName::parse("a\nb"), Err(InvalidName::Control(1)));
        assert_eq!(ChannelName::parse("\u{85}"), Err(InvalidName::Control(0)));
    }
}
