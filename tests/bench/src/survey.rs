//! What a client has got that may have missed messages: whole ones in order, gaps, a close code.
//!
//! Where `frames::Checker` demands every message, this one counts what is not there. Knows no sockets.

use crate::Failure;
use crate::frames::Template;
use crate::numbers::Numbers;

/// Follows the stream of one connection.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    numbers: Numbers,
    next: u64,
    received: u64,
    missed: u64,
    gaps: u64,
}

impl Survey {
    /// Whole messages that have come.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Messages that were left out before the last one that has come.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// How often some were left out.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }

    /// The number behind that of the last message; 0 before the first.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The code of the close frame, if it has come; 0 for one without.
    pub fn close(&self) -> Option<u16> {
        self.numbers.close()
    }

    /// Takes what has come.
    ///
    /// # Errors
    /// A frame that is not as `expected`, but for its number; a number that is not above the one before.
    pub fn take(&mut self, input: &[u8], expected: &Template) -> Result<(), Failure> {
        for number in self.numbers.take(input, expected)? {
            let missed = number
                .checked_sub(self.next)
                .ok_or_else(|| format!("message {number} came after {}", self.next))?;
            self.missed += missed;
            self.gaps += u64::from(missed > 0);
            self.received += 1;
            self.next = number + 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(numbers: &[u64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let template = Template::server(130);
        numbers
            .iter()
            .for_each(|number| template.append(*number, &mut bytes));
        bytes
    }

    #[test]
    fn gaps_are_counted_however_the_stream_is_cut() {
        let mut bytes = frames(&[0, 1, 5]);
        bytes.extend_from_slice(&[0x89, 1, 7]);
        bytes.extend_from_slice(&frames(&[6, 9]));
        bytes.extend_from_slice(&[0x88, 2, 0x03, 0xf5]);
        for step in [1, 7, 140, bytes.len()] {
            let mut survey = Survey::default();
            for part in bytes.chunks(step) {
                survey.take(part, &Template::server(130)).unwrap();
            }
            assert_eq!((survey.received(), survey.next()), (5, 10));
            assert_eq!((survey.missed(), survey.gaps()), (5, 2));
            assert_eq!(survey.close(), Some(1013));
        }
    }

    #[test]
    fn a_changed_frame_and_one_that_comes_twice_are_found() {
        let template = Template::server(130);
        let mut changed = frames(&[3]);
        changed[60] ^= 1;
        for bytes in [changed, frames(&[2, 2]), frames(&[2, 1])] {
            assert!(Survey::default().take(&bytes, &template).is_err());
        }
    }
}
