//! Just enough of Rust's grammar for the rules: code apart from comments and literals, words, and
//! blocks. It must not know any rule.

/// The text with comments, strings and character literals turned to spaces. Lines keep their
/// numbers and bytes keep their places as far as lines go.
pub(crate) fn code_only(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(next) = rest.chars().next() {
        let hidden = comment_bytes(rest)
            .or_else(|| literal_bytes(rest, before))
            .unwrap_or(0);
        if hidden == 0 {
            out.push(next);
            rest = &rest[next.len_utf8()..];
        } else {
            out.extend(
                rest[..hidden]
                    .chars()
                    .map(|c| if c == '\n' { '\n' } else { ' ' }),
            );
            rest = &rest[hidden..];
        }
        before = if hidden == 0 { next } else { ' ' };
    }
    out
}

fn comment_bytes(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += 1;
        }
    }
    Some(text.len())
}

fn literal_bytes(text: &str, before: char) -> Option<usize> {
    if text.starts_with('"') {
        return Some(quoted_bytes(text, b'"'));
    }
    if text.starts_with('\'') {
        let mut chars = text.chars().skip(1);
        let (first, second) = (chars.next()?, chars.next()?);
        // 'a' and '\n' are characters; 'a without the second quote is a lifetime.
        return (first == '\\' || second == '\'').then(|| quoted_bytes(text, b'\''));
    }
    if is_word(before) {
        return None;
    }
    let prefix = ["br", "cr", "r"]
        .into_iter()
        .find(|prefix| text.starts_with(prefix))?;
    let hashes = text[prefix.len()..]
        .bytes()
        .take_while(|byte| *byte == b'#')
        .count();
    let open = prefix.len() + hashes;
    if text.as_bytes().get(open) != Some(&b'"') {
        return None;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let body = &text[open + 1..];
    Some(
        body.find(&close)
            .map_or(text.len(), |at| open + 1 + at + close.len()),
    )
}

/// Bytes of a literal that starts with a quote, backslashes minded, both quotes counted.
fn quoted_bytes(text: &str, quote: u8) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// Whether the character can stand in an identifier.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// An identifier or keyword and the byte where it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word<'c> {
    pub(crate) at: usize,
    pub(crate) text: &'c str,
}

/// The words of code, in order.
pub(crate) fn words(code: &str) -> impl Iterator<Item = Word<'_>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + code[from..].find(is_word)?;
        let bytes = code[at..].find(|c| !is_word(c)).unwrap_or(code.len() - at);
        from = at + bytes;
        Some(Word {
            at,
            text: &code[at..from],
        })
    })
}

/// The line, from 1, of a byte.
pub(crate) fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The byte behind the bracket that closes the one at `open`.
pub(crate) fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, c) in code[open..].char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return open + offset + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let squeezed: Vec<_> = code_only(text)
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        assert_eq!(squeezed.join(" "), expected);
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        check("a // b\nc", "a c");
        check("a /* b /* c */ d */ e", "a e");
        check(r#"a "b \" c" d"#, "a d");
        check(r###"a r#"b " c"# d br"e" f"###, "a d f");
        check(r"a 'b' c '\'' d", "a c d");
    }

    #[test]
    fn lifetimes_and_raw_identifiers_are_code() {
        check("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)");
        check("let r#type = r;", "let r#type = r;");
    }

    #[test]
    fn lines_keep_their_numbers() {
        let code = code_only("/* a\n b */ \"c\n d\" here");
        let word = words(&code).next().expect("one word is left");
        assert_eq!((word.text, line_of(&code, word.at)), ("here", 3));
    }

    #[test]
    fn a_block_ends_at_its_own_bracket() {
        let code = "fn f() { if a { b } } rest";
        assert_eq!(&code[block_end(code, 7)..], " rest");
    }
}
