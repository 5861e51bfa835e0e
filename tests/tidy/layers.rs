//! Imports only point down. Reads `crate::` and `super::` paths out of code; it must not know what
//! the modules do.

use crate::report::Finding;
use crate::rust::{Word, block_end, code_only, is_word, line_of, words};
use crate::tree::Source;

/// The layers, top down. A module may import those of lower rows and itself, not its neighbours.
const LAYERS: [&[&str]; 10] = [
    &["client"],
    &["master"],
    &["worker"],
    &["engine"],
    &["app", "routing"],
    &["channel", "status"],
    &["net", "event_loop"],
    &["config"],
    &["sharedarea"],
    &["protocol", "sys"],
];

/// Files that tie the layers together and so may import all of them.
const TIES: [&str; 3] = ["src/lib.rs", "src/main.rs", "src/program.rs"];

/// Parts of the standard library, and crates, that reach out of the process.
const OUTSIDE_STD: [&str; 6] = ["fs", "net", "os", "env", "process", "thread"];
const OUTSIDE_CRATES: [&str; 3] = ["mio", "nix", "libc"];

/// Folders where values decide, and what of the outside they may name all the same.
const PURE: [(&str, &[&str]); 3] = [
    ("src/protocol/", &[]),
    ("src/routing/", &[]),
    // Process ids and signal names are values; `sys` is where they are used.
    ("src/master/supervisor", &["nix"]),
];

const DOWN: &str = "move the shared piece to a lower layer, or pass it in as a value or a trait; \
                    the order is in ARCHITECTURE.md";
const BY_MODULE: &str = "import from the module that owns it, by its name in the layer table; if \
                         the module is new, give it a row in tests/tidy/layers.rs and ARCHITECTURE.md";
const PURELY: &str = "take the value as an argument (time, bytes, randomness) and return what is \
                      to be done; the layers above do it";

/// Every import that points up or sideways, and every module without a row.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let Some(module) = top_module(&source.path) else {
            continue;
        };
        let Some(row) = row_of(module) else {
            findings.push(Finding::new(
                &source.path,
                0,
                "stands in no layer",
                BY_MODULE,
            ));
            continue;
        };
        for import in imports(&source.path, &code_only(&source.text)) {
            if import.name == module {
                continue;
            }
            let problem = format!("`{module}` imports `{}`", import.name);
            match row_of(&import.name) {
                Some(below) if below > row => {}
                Some(_) => findings.push(Finding::new(&source.path, import.line, problem, DOWN)),
                None => findings.push(Finding::new(&source.path, import.line, problem, BY_MODULE)),
            }
        }
    }
    findings
}

/// Every name of the outside world in a layer that must not know it.
pub(crate) fn check_purity(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let Some((_, allowed)) = PURE
            .iter()
            .find(|(folder, _)| source.path.starts_with(folder))
        else {
            continue;
        };
        let code = code_only(&source.text);
        let is_outside = |word: &Word<'_>| {
            let is_clock = ["Instant", "SystemTime"].contains(&word.text);
            let is_std = OUTSIDE_STD.contains(&word.text) && code[..word.at].ends_with("std::");
            let is_crate = OUTSIDE_CRATES.contains(&word.text)
                && code[word.at + word.text.len()..].starts_with("::");
            (is_clock || is_std || is_crate) && !allowed.contains(&word.text)
        };
        for word in words(&code).filter(is_outside) {
            let problem = format!("names `{}`, which this layer must not know", word.text);
            findings.push(Finding::new(
                &source.path,
                line_of(&code, word.at),
                problem,
                PURELY,
            ));
        }
    }
    findings
}

fn row_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

/// The module right under the crate that a file of `src/` belongs to; none for the ties.
fn top_module(path: &str) -> Option<&str> {
    let inside = path
        .strip_prefix("src/")
        .filter(|_| !TIES.contains(&path))?;
    Some(inside.split('/').next()?.trim_end_matches(".rs"))
}

struct Import {
    line: usize,
    name: String,
}

fn imports(path: &str, code: &str) -> Vec<Import> {
    let depth_of_file = path.trim_end_matches("/mod.rs").split('/').count() - 1;
    let inline = inline_modules(code);
    let mut found = Vec::new();
    for word in words(code) {
        let rest = &code[word.at..];
        let reached = match word.text {
            "crate" => rest.strip_prefix("crate::"),
            // Only the first `super` of a chain, and only if the chain ends at the crate.
            "super" if !code[..word.at].ends_with("super::") => {
                let inside = inline
                    .iter()
                    .filter(|block| block.contains(&word.at))
                    .count();
                let chain = rest.trim_start_matches("super::");
                let steps = (rest.len() - chain.len()) / "super::".len();
                (steps >= depth_of_file + inside).then_some(chain)
            }
            _ => None,
        };
        let Some(reached) = reached else { continue };
        let line = line_of(code, word.at);
        found.extend(
            first_names(reached)
                .into_iter()
                .map(|name| Import { line, name }),
        );
    }
    found
}

/// The first name of a path, or of each path of a group.
fn first_names(path: &str) -> Vec<String> {
    let name_at = |at: usize| {
        path[at..]
            .chars()
            .take_while(|c| is_word(*c))
            .collect::<String>()
    };
    if !path.starts_with('{') {
        let name = name_at(0);
        return if name.is_empty() {
            vec!["*".to_owned()]
        } else {
            vec![name]
        };
    }
    let group = &path[..block_end(path, 0)];
    let mut depth = 0_usize;
    let mut at_start = false;
    let mut names = Vec::new();
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if at_start && is_word(c) {
            names.push(name_at(at));
        }
        at_start = depth == 1 && (matches!(c, '{' | ',') || (at_start && c.is_whitespace()));
    }
    names
}

/// The bytes of each `mod name { .. }`.
fn inline_modules(code: &str) -> Vec<std::ops::Range<usize>> {
    let all: Vec<Word<'_>> = words(code).collect();
    all.windows(2)
        .filter(|pair| pair[0].text == "mod")
        .filter_map(|pair| {
            let behind = pair[1].at + pair[1].text.len();
            let gap = code[behind..].len() - code[behind..].trim_start().len();
            let open = behind + gap;
            code[open..]
                .starts_with('{')
                .then(|| open..block_end(code, open))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{expect_none, expect_one};

    #[track_caller]
    fn allowed(path: &str, text: &str) {
        expect_none(&check(&[Source::sample(path, text)]));
    }

    #[track_caller]
    fn refused(path: &str, text: &str, line: usize) {
        expect_one(&check(&[Source::sample(path, text)]), line);
    }

    #[test]
    fn down_is_allowed() {
        allowed(
            "src/engine/turn.rs",
            "use crate::{app::App, net, protocol::http};",
        );
        allowed(
            "src/master/mod.rs",
            "use crate::worker::Seat; use super::worker;",
        );
        allowed("src/program.rs", "use crate::client; use crate::master;");
        allowed(
            "src/net/mod.rs",
            "// crate::engine is not imported\nlet text = \"crate::app\";",
        );
    }

    #[test]
    fn up_and_sideways_are_refused() {
        refused("src/protocol/http/mod.rs", "\nuse crate::net::Listener;", 2);
        refused("src/event_loop/mod.rs", "use crate::net::Listener;", 1);
        refused(
            "src/sys/socket.rs",
            "\n\nuse crate::{sys::a, config::{b, c}};",
            3,
        );
        refused("src/channel/mod.rs", "fn f() -> crate::engine::Turn {}", 1);
    }

    #[test]
    fn super_does_not_lead_around_the_table() {
        refused("src/channel/mod.rs", "use super::engine;", 1);
        refused("src/channel/fan.rs", "use super::super::engine;", 1);
        refused(
            "src/channel/mod.rs",
            "mod tests { use super::super::engine; }",
            1,
        );
        allowed("src/channel/mod.rs", "mod tests { use super::engine; }");
        allowed("src/channel/fan.rs", "use super::names;");
    }

    #[test]
    fn names_outside_the_table_are_refused() {
        refused("src/engine/mod.rs", "use crate::WebSocket;", 1);
        refused("src/extra/mod.rs", "//! A new module.", 0);
    }

    #[test]
    fn the_protocol_knows_no_clock() {
        let bad = Source::sample("src/protocol/http/head.rs", "\nuse std::time::Instant;");
        expect_one(&check_purity(&[bad]), 2);
        let bad = Source::sample("src/protocol/mod.rs", "fn f(fd: libc::c_int) {}");
        expect_one(&check_purity(&[bad]), 1);
        let good = Source::sample("src/protocol/mod.rs", "fn f(time: u64, net: Net) {}");
        expect_none(&check_purity(&[good]));
        let good = Source::sample("src/master/supervisor/mod.rs", "use nix::unistd::Pid;");
        expect_none(&check_purity(&[good]));
    }
}
