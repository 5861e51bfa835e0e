//! Texts to values, one small function per kind of value, each saying what would have been allowed.
//!
//! It must not know which option a value belongs to.

use std::ops::RangeInclusive;

/// What would have been allowed, as the end of the sentence "allowed is ...".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub String);

impl Refused {
    pub(super) fn new(allowed: impl Into<String>) -> Self {
        Self(allowed.into())
    }
}

/// A whole number in decimal, without sign.
pub(super) fn whole<T>(text: &str, range: RangeInclusive<T>) -> Result<T, Refused>
where
    T: TryFrom<u64> + PartialOrd + std::fmt::Display,
{
    digits(text)
        .and_then(|number| T::try_from(number).ok())
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            Refused::new(format!(
                "a whole number from {} to {}",
                range.start(),
                range.end()
            ))
        })
}

/// A power of two in decimal.
pub(super) fn power_of_two(text: &str, range: RangeInclusive<u32>) -> Result<u32, Refused> {
    digits(text)
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| range.contains(number) && number.is_power_of_two())
        .ok_or_else(|| {
            Refused::new(format!(
                "a power of two from {} to {}",
                range.start(),
                range.end()
            ))
        })
}

/// Seconds with up to three decimals, as milliseconds; the range is in milliseconds too.
pub(super) fn seconds(text: &str, range_ms: RangeInclusive<u64>) -> Result<u64, Refused> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let milliseconds = (fraction.len() <= 3).then_some(()).and_then(|()| {
        let thousandths = digits(&format!("{fraction:0<3}"))?;
        digits(whole)?.checked_mul(1000)?.checked_add(thousandths)
    });
    milliseconds
        .filter(|ms| range_ms.contains(ms))
        .ok_or_else(|| {
            Refused::new(format!(
                "a number of seconds from {} to {}",
                show_seconds(*range_ms.start()),
                show_seconds(*range_ms.end())
            ))
        })
}

/// `true`, `on`, `yes`, `1` and their opposites; uWSGI's words for a flag.
pub(super) fn switch(text: &str) -> Result<bool, Refused> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err(Refused::new("true or false")),
    }
}

/// A file mode in octal, as for chmod(1).
pub(super) fn octal_mode(text: &str) -> Result<u32, Refused> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777 && !text.starts_with('+'))
        .ok_or_else(|| Refused::new("an octal mode from 0 to 777"))
}

fn digits(text: &str) -> Option<u64> {
    // `parse` alone would take "+8".
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

fn show_seconds(ms: u64) -> String {
    match ms % 1000 {
        0 => (ms / 1000).to_string(),
        rest => format!("{}.{rest:03}", ms / 1000)
            .trim_end_matches('0')
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_their_range_say_the_range() {
        assert_eq!(whole("8", 1_u16..=62), Ok(8));
        for text in [
            "",
            "0",
            "63",
            "+8",
            "-1",
            "8.0",
            "0x8",
            "99999999999999999999",
        ] {
            assert_eq!(
                whole(text, 1_u16..=62),
                Err(Refused::new("a whole number from 1 to 62")),
                "{text}"
            );
        }
        assert_eq!(power_of_two("64", 64..=128), Ok(64));
        assert!(power_of_two("96", 64..=128).is_err());
    }

    #[test]
    fn seconds_take_decimals_to_the_millisecond() {
        for (text, ms) in [
            ("10", 10_000),
            ("0.5", 500),
            ("1.25", 1250),
            ("0.001", 1),
            ("2.", 2000),
        ] {
            assert_eq!(seconds(text, 0..=60_000), Ok(ms), "{text}");
        }
        for text in ["", ".", "-1", "1.0001", "61", "1s", "1.-1"] {
            let allowed = "a number of seconds from 0.1 to 60";
            assert_eq!(
                seconds(text, 100..=60_000),
                Err(Refused::new(allowed)),
                "{text}"
            );
        }
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(octal_mode("664"), Ok(0o664));
        for text in ["8", "1777", "", "+7", "rw"] {
            assert!(octal_mode(text).is_err(), "{text}");
        }
    }
}
