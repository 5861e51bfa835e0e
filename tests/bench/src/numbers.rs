//! The numbers of the messages in a stream, whatever they are: where `frames::Checker` demands one after the other, this
//! takes them as they come. Knows no sockets.

use crate::Failure;
use crate::frames::{FIN, OPCODE_CLOSE, Template};

/// Follows the stream of one connection.
#[derive(Debug, Clone, Default)]
pub struct Numbers {
    /// The start of a frame whose rest has not come.
    partial: Vec<u8>,
    close: Option<u16>,
}

impl Numbers {
    /// The code of the close frame, if it has come; 0 for one without.
    pub fn close(&self) -> Option<u16> {
        self.close
    }

    /// Takes what has come; the numbers of the messages that are whole now. Control frames are skipped.
    ///
    /// # Errors
    /// A frame that is not as `expected`, but for its number.
    pub fn take(&mut self, input: &[u8], expected: &Template) -> Result<Vec<u64>, Failure> {
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.extend_from_slice(input);
        let mut rest = bytes.as_slice();
        let mut numbers = Vec::new();
        while let Some((&first, &second)) = rest.first().zip(rest.get(1)) {
            let is_control = first & 0x8 != 0;
            let frame_bytes = if is_control {
                2 + usize::from(second & 0x7f)
            } else {
                expected.frame_bytes()
            };
            let Some((frame, behind)) = rest.split_at_checked(frame_bytes) else {
                break;
            };
            if !is_control {
                numbers.push(expected.number_in(frame).ok_or("a frame is wrong")?);
            } else if first == FIN | OPCODE_CLOSE {
                let code = frame[2..].first_chunk().copied();
                self.close = Some(code.map_or(0, u16::from_be_bytes));
            }
            rest = behind;
        }
        self.partial = rest.to_vec();
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_however_the_stream_is_cut() {
        let template = Template::server(130);
        let mut bytes = Vec::new();
        for number in [7, 0, 1 << 40] {
            template.append(number, &mut bytes);
            bytes.extend_from_slice(&[0x89, 1, 7]);
        }
        for step in [1, 7, 140, bytes.len()] {
            let mut numbers = Numbers::default();
            let take = |part| numbers.take(part, &template).unwrap();
            let found: Vec<u64> = bytes.chunks(step).flat_map(take).collect();
            assert_eq!(found, [7, 0, 1 << 40]);
        }
    }

    #[test]
    fn a_close_is_told_and_a_changed_frame_is_found() {
        let template = Template::server(130);
        let mut numbers = Numbers::default();
        numbers.take(&[0x88, 2, 0x03, 0xf5], &template).unwrap();
        assert_eq!(numbers.close(), Some(1013));
        let mut changed = Vec::new();
        template.append(3, &mut changed);
        changed[60] ^= 1;
        assert!(Numbers::default().take(&changed, &template).is_err());
    }
}
