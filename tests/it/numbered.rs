//! Messages that show whether they came whole: who sent it, which one it is, filler of any length, a checksum.

/// A message of about `bytes` bytes.
pub(crate) fn message(sender: &str, number: u64, bytes: usize) -> String {
    let filler = format!("{:x}-", number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let text = format!("{sender} {number} {}", filler.repeat(bytes / filler.len()));
    let sum = checksum(text.as_bytes());
    format!("{text} {sum:016x}")
}

/// Sender and number of a message; panics if it is not as it was sent.
#[track_caller]
pub(crate) fn check(message: &str) -> (&str, u64) {
    let shown = || message.chars().take(100).collect::<String>();
    let (text, sum) = message
        .rsplit_once(' ')
        .unwrap_or_else(|| panic!("no checksum: {}", shown()));
    let right = format!("{:016x}", checksum(text.as_bytes()));
    assert_eq!(
        sum,
        right,
        "{} bytes were corrupted: {}",
        message.len(),
        shown()
    );
    let mut words = text.split(' ');
    let sender = words.next().unwrap_or_default();
    let number = words.next().and_then(|number| number.parse().ok());
    (
        sender,
        number.unwrap_or_else(|| panic!("no number: {}", shown())),
    )
}

/// FNV-1a, 64 bits, over words of eight bytes: the tests are not optimised.
fn checksum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    words.chain(rest.iter().map(|byte| u64::from(*byte))).fold(
        0xcbf2_9ce4_8422_2325,
        |sum, word| {
            // The rotation lets high bits reach low ones.
            ((sum ^ word).wrapping_mul(0x0100_0000_01b3)).rotate_left(23)
        },
    )
}

#[test]
fn a_changed_or_cut_message_is_found() {
    let good = message("a", 7, 300);
    assert_eq!(check(&good), ("a", 7));
    let bad = [
        good.replacen('-', "_", 1),
        good[..good.len() - 1].to_owned(),
        String::new(),
    ];
    for bad in bad {
        assert!(std::panic::catch_unwind(|| check(&bad)).is_err(), "{bad}");
    }
}
