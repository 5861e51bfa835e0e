//! What a verb asks of the master itself: a change whose result it waits for.
//!
//! Pure. It must not know how the master does it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something to be done and answered when it is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Errand {
    /// Load the configuration again and replace the workers.
    Reload,
    /// Replace the program, and the workers with it.
    Upgrade,
    /// Stop.
    Stop {
        /// Clients get a close frame and no time.
        fast: bool,
    },
    /// Have so many workers.
    Scale {
        /// How many.
        processes: u16,
    },
}

/// As the verb is typed.
impl fmt::Display for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reload => f.write_str("reload"),
            Self::Upgrade => f.write_str("upgrade"),
            Self::Stop { fast: false } => f.write_str("stop"),
            Self::Stop { fast: true } => f.write_str("stop --fast"),
            Self::Scale { processes } => write!(f, "scale {processes}"),
        }
    }
}

impl Errand {
    /// The body of its frame: a letter, and a number where there is one.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Reload => out.push(b'r'),
            Self::Upgrade => out.push(b'u'),
            Self::Stop { fast: false } => out.push(b'q'),
            Self::Stop { fast: true } => out.push(b'Q'),
            Self::Scale { processes } => {
                out.push(b'n');
                out.extend_from_slice(&processes.to_le_bytes());
            }
        }
    }

    pub(super) fn read(body: &[u8]) -> Option<Self> {
        match *body {
            [b'r'] => Some(Self::Reload),
            [b'u'] => Some(Self::Upgrade),
            [b'q'] => Some(Self::Stop { fast: false }),
            [b'Q'] => Some(Self::Stop { fast: true }),
            [b'n', low, high] => Some(Self::Scale {
                processes: u16::from_le_bytes([low, high]),
            }),
            _ => None,
        }
    }
}

/// What a verb waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Awaited {
    /// That the master takes this errand.
    Attention(Errand),
    /// That a reload or upgrade of this generation, or a later one, is done or has failed.
    Generation(u32),
    /// That the number of workers has changed.
    Scaled,
    /// That the server has ended.
    End,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errands_read_as_they_are_typed() {
        assert_eq!(Errand::Stop { fast: false }.to_string(), "stop");
        assert_eq!(Errand::Stop { fast: true }.to_string(), "stop --fast");
        assert_eq!(Errand::Scale { processes: 3 }.to_string(), "scale 3");
    }

    #[test]
    fn errands_survive_their_bodies() {
        for errand in [
            Errand::Reload,
            Errand::Upgrade,
            Errand::Stop { fast: false },
            Errand::Stop { fast: true },
            Errand::Scale { processes: 300 },
        ] {
            let mut body = Vec::new();
            errand.write(&mut body);
            assert_eq!(Errand::read(&body), Some(errand));
        }
        for nonsense in [&b""[..], b"x", b"n1", b"rr"] {
            assert_eq!(Errand::read(nonsense), None);
        }
    }
}
