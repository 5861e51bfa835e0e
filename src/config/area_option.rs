//! Areas as they are asked for: the values of `--sharedarea`, in uWSGI's syntax.
//!
//! It must not know whether a file is there.

use super::values::{Refused, whole};
use crate::sharedarea::{AREA_NAME_BYTES_MAX, AreaSize, AreaSource, AreaSpec};

const ALLOWED: &str = "N (pages), or pages=N or size=BYTES followed by any of ,file=PATH ,fd=N ,offset=BYTES \
    ,name=NAME ,watch=MS, for example size=1048576,name=frames";
const SIZE_NEEDED: &str =
    "a value that says how large the area is: pages=N or size=BYTES is missing";
/// The longest pause between two looks at a watched area.
const WATCH_MS_MAX: u32 = 60_000;

/// What has been said of an area so far.
#[derive(Default)]
struct Words<'t> {
    size: Option<AreaSize>,
    file: Option<&'t str>,
    fd: Option<i32>,
    offset: Option<u64>,
    name: Option<&'t str>,
    watch_ms: u32,
}

/// One area.
pub(super) fn parse(text: &str) -> Result<AreaSpec, Refused> {
    let mut words = Words::default();
    if !text.contains('=') {
        let pages = number(text).map_err(|_| Refused::new(ALLOWED))?;
        words.size = Some(AreaSize::Pages(pages));
        return words.finish();
    }
    for part in text.split(',') {
        let (key, value) = part.split_once('=').ok_or_else(|| Refused::new(ALLOWED))?;
        match key {
            "pages" => words.size = Some(AreaSize::Pages(number(value)?)),
            "size" => words.size = Some(AreaSize::Bytes(number(value)?)),
            "file" => words.file = Some(value).filter(|path| !path.is_empty()),
            "fd" => words.fd = Some(whole(value, 0..=i32::MAX)?),
            "offset" => words.offset = Some(offset(value)?),
            "name" => words.name = Some(name(value)?),
            "watch" => words.watch_ms = whole(value, 1..=WATCH_MS_MAX)?,
            // uWSGI takes it and does nothing with it.
            "ptr" => {}
            _ => return Err(Refused::new(ALLOWED)),
        }
    }
    words.finish()
}

impl Words<'_> {
    fn finish(self) -> Result<AreaSpec, Refused> {
        let size = self.size.ok_or_else(|| Refused::new(SIZE_NEEDED))?;
        let offset = self.offset.unwrap_or(0);
        let source = match (self.file, self.fd) {
            (Some(path), None) => AreaSource::File {
                path: path.into(),
                offset,
            },
            (None, Some(fd)) => AreaSource::Descriptor { fd, offset },
            (None, None) if self.offset.is_none() => AreaSource::Memory,
            (None, None) => return Err(Refused::new("offset= with file= or fd= only")),
            (Some(_), Some(_)) => return Err(Refused::new("either file= or fd=, not both")),
        };
        Ok(AreaSpec {
            source,
            size,
            name: self.name.map(str::to_owned),
            watch_ms: self.watch_ms,
        })
    }
}

/// A size: decimal, or hexadecimal with `0x`; at least 1.
fn number(text: &str) -> Result<u64, Refused> {
    offset(text).and_then(|number| {
        (number > 0)
            .then_some(number)
            .ok_or_else(|| Refused::new("a size of at least 1"))
    })
}

fn offset(text: &str) -> Result<u64, Refused> {
    let refused = || Refused::new("a number in decimal, or in hexadecimal with 0x");
    match text.strip_prefix("0x") {
        Some(digits) if !digits.starts_with('+') => {
            u64::from_str_radix(digits, 16).map_err(|_| refused())
        }
        Some(_) => Err(refused()),
        None => whole(text, 0..=u64::MAX).map_err(|_| refused()),
    }
}

/// A name can stand where a number can, and as a file name; so it is neither.
fn name(text: &str) -> Result<&str, Refused> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    if (1..=AREA_NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(plain)
        && !text.starts_with('.')
        && !is_number
    {
        return Ok(text);
    }
    Err(Refused::new(format!(
        "a name= of 1 to {AREA_NAME_BYTES_MAX} letters, digits, '-', '_' or '.', not a number and not starting with '.'"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(source: AreaSource, size: AreaSize) -> AreaSpec {
        AreaSpec {
            source,
            size,
            name: None,
            watch_ms: 0,
        }
    }

    #[test]
    fn every_form_of_uwsgi_is_understood() {
        let file = |offset| AreaSource::File {
            path: "/x".into(),
            offset,
        };
        for (text, expected) in [
            ("16", spec(AreaSource::Memory, AreaSize::Pages(16))),
            ("pages=1", spec(AreaSource::Memory, AreaSize::Pages(1))),
            ("size=64", spec(AreaSource::Memory, AreaSize::Bytes(64))),
            (
                "size=0x1000,ptr=x",
                spec(AreaSource::Memory, AreaSize::Bytes(4096)),
            ),
            ("file=/x,size=5", spec(file(0), AreaSize::Bytes(5))),
            (
                "file=/x,offset=0x10,pages=2",
                spec(file(16), AreaSize::Pages(2)),
            ),
            (
                "fd=7,size=5",
                spec(
                    AreaSource::Descriptor { fd: 7, offset: 0 },
                    AreaSize::Bytes(5),
                ),
            ),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        let watched = parse("name=frames,pages=3,watch=20").unwrap();
        assert_eq!(
            (watched.name.as_deref(), watched.watch_ms),
            (Some("frames"), 20)
        );
    }

    #[test]
    fn nonsense_is_refused_with_what_would_do() {
        for (text, words) in [
            ("", "pages=N or size=BYTES"),
            ("0", "pages=N"),
            ("-1", "pages=N"),
            ("many", "pages=N"),
            ("size=0", "at least 1"),
            ("size=0x", "hexadecimal"),
            ("size=0x+1", "hexadecimal"),
            ("size=1k", "decimal"),
            ("file=/x", "pages=N or size=BYTES is missing"),
            ("name=a", "pages=N or size=BYTES is missing"),
            ("size=1,offset=2", "file= or fd= only"),
            ("size=1,file=/x,fd=3", "not both"),
            ("size=1,fd=-1", "whole number"),
            ("size=1,colour=red", "for example"),
            ("size=1,name", "for example"),
            ("size=1,name=17", "not a number"),
            ("size=1,name=../x", "not starting"),
            ("size=1,watch=0", "whole number"),
        ] {
            let Refused(allowed) = parse(text).unwrap_err();
            assert!(allowed.contains(words), "{text}: {allowed}");
        }
    }
}
