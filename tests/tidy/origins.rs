//! Nothing in the tree points to one machine, or to a host that a reader cannot be expected to reach.

use crate::report::Finding;
use crate::tree::Source;

/// Parts of paths that exist on somebody's machine only. Split, so that this file passes itself.
const MACHINE_PATHS: [&str; 4] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
];

/// Hosts of package registries; clients find them by their own settings.
const REGISTRIES: [&str; 6] = [
    concat!("py", "pi.org"),
    concat!("python", "hosted.org"),
    concat!("npm", "js.org"),
    concat!("npm", "js.com"),
    concat!("deb.", "debian.org"),
    concat!("static.", "crates.io"),
];

/// Hosts that may be named: standards, and the documents that ours follow.
const HOSTS: [&str; 7] = [
    "localhost",
    "www.rfc-editor.org",
    "datatracker.ietf.org",
    "www.w3.org",
    "doc.rust-lang.org",
    "keepachangelog.com",
    "semver.org",
];

/// Names and networks that are reserved for examples and for the machine itself.
const RESERVED_ENDS: [&str; 7] = [
    ".example",
    ".test",
    ".invalid",
    ".localhost",
    "example.com",
    "example.org",
    "example.net",
];
const RESERVED_STARTS: [&str; 8] = [
    "127.",
    "0.0.0.0",
    "[::",
    "192.0.2.",
    "198.51.100.",
    "203.0.113.",
    "[2001:db8:",
    "10.0.0.",
];

/// Single labels that samples of URLs use, besides single letters.
const LABELS: [&str; 5] = ["host", "server", "client", "example", "null"];

const LOCK_SOURCE: &str = concat!("registry+https:", "//github.com/rust-lang/crates.io-index");

const RELATIVE: &str =
    "use a path relative to the repository, an environment variable, or an option";
const BY_NAME: &str = "name the package and let the ordinary client find it";
const RESERVED: &str = "in samples use a name that ends in .example; a standard may be named once \
                        its host is listed in tests/tidy/origins.rs";
const FROM_THE_INDEX: &str = "take dependencies from the public index or from a path in this tree";

/// Every path and host that is somebody's own.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources
        .iter()
        .filter(|source| !source.path.starts_with("LICENSE"))
    {
        let is_lock = source.path.ends_with("Cargo.lock");
        for (number, line) in source.lines() {
            let mut find = |problem: String, remedy| {
                findings.push(Finding::new(&source.path, number, problem, remedy));
            };
            if is_lock {
                let origin = line
                    .strip_prefix("source = ")
                    .map(|origin| origin.trim_matches('"'));
                if let Some(origin) = origin.filter(|origin| *origin != LOCK_SOURCE) {
                    find(format!("comes from {origin}"), FROM_THE_INDEX);
                }
                continue;
            }
            for path in MACHINE_PATHS.into_iter().filter(|path| line.contains(path)) {
                find(format!("names `{path}`, a path of one machine"), RELATIVE);
            }
            for host in REGISTRIES.into_iter().filter(|host| line.contains(host)) {
                find(format!("names `{host}`"), BY_NAME);
            }
            for host in hosts(line).filter(|host| !is_allowed(host)) {
                find(format!("names the host `{host}`"), RESERVED);
            }
        }
    }
    findings
}

/// The hosts of the URLs in a line, without port and user; patterns to be filled in are left out.
fn hosts(line: &str) -> impl Iterator<Item = &str> {
    line.split("://").skip(1).filter_map(|rest| {
        let end = |c: char| c.is_whitespace() || "/\"'`<>(){}\\,;|?#".contains(c);
        let authority = rest.split(end).next()?;
        let host = authority.rsplit('@').next()?;
        let bytes = if host.starts_with('[') {
            host.find(']').map(|at| at + 1)
        } else {
            host.find([':', '['])
        };
        let host = &host[..bytes.unwrap_or(host.len())];
        host.starts_with(|c: char| c.is_alphanumeric() || c == '[')
            .then_some(host)
    })
}

fn is_allowed(host: &str) -> bool {
    let lower = host.to_lowercase();
    let host = lower.trim_end_matches('.');
    HOSTS.contains(&host)
        || LABELS.contains(&host)
        || host.len() == 1
        || RESERVED_ENDS.iter().any(|end| host.ends_with(end))
        || RESERVED_STARTS.iter().any(|start| host.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{expect_none, expect_one};

    fn checked(path: &str, text: &str) -> Vec<Finding> {
        check(&[Source::sample(path, text)])
    }

    #[test]
    fn paths_and_hosts_of_one_machine_are_found() {
        expect_one(
            &checked("README.md", &format!("\ncd {}bellwether", MACHINE_PATHS[0])),
            2,
        );
        expect_one(
            &checked("scripts/test", &format!("pip -i {}", REGISTRIES[0])),
            1,
        );
        let url = concat!("http:", "//mirror.corp:8080/simple");
        expect_one(&checked("tests/a.rs", url), 1);
        let url = concat!("https:", "//user@mirror/simple");
        expect_one(&checked("tests/a.rs", url), 1);
        let lock = "source = \"git+https://elsewhere.example/x\"";
        expect_one(&checked("Cargo.lock", lock), 1);
    }

    #[test]
    fn samples_and_standards_pass() {
        let text = "http://localhost:3032/ ws://127.0.0.1:{port} http://[::1]:80 unix:///run/x \
                    https://chat.example https://www.rfc-editor.org/rfc/rfc6455 http://{host}/ \
                    http://a.example.com. http://HOST:1/ \
                    https://a.example[:port]";
        expect_none(&checked("docs/a.md", text));
        expect_none(&checked(
            "Cargo.lock",
            &format!("source = \"{LOCK_SOURCE}\""),
        ));
    }
}
