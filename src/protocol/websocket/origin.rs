//! Which web pages may open a WebSocket (RFC 6455 section 10.2). Only browsers send an Origin, and only they can be made to act for
//! somebody else, so a client without one is let in. It must not know where rules come from.

use std::fmt;
use std::str::FromStr;

/// One allowed origin: `https://a.example:8443`, `https://a.example`, `a.example`, `*.example.com`, `null`, or `*` for any.
///
/// A star covers one or more labels, never the domain itself. Without a scheme any scheme is meant, without a port the
/// scheme's own, and without both any port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginRule(Rule);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Any,
    /// A page without an origin of its own: a file, a sandboxed frame.
    Null,
    Site {
        scheme: Option<String>,
        host: HostRule,
        port: Option<u16>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostRule {
    Exact(String),
    /// With the leading dot.
    Below(String),
}

/// An origin pattern that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no origin; allowed are https://host[:port], host[:port], *.domain and *")]
pub struct OriginRuleError(String);

impl FromStr for OriginRule {
    type Err = OriginRuleError;

    fn from_str(pattern: &str) -> Result<Self, Self::Err> {
        let error = || OriginRuleError(pattern.to_owned());
        match pattern {
            "*" => return Ok(Self(Rule::Any)),
            "null" => return Ok(Self(Rule::Null)),
            _ => {}
        }
        let (scheme, authority) = match pattern.split_once("://") {
            Some((scheme, authority)) if is_scheme(scheme) => {
                (Some(scheme.to_ascii_lowercase()), authority)
            }
            Some(_) => return Err(error()),
            None => (None, pattern),
        };
        let (host, port) = split_port(authority).ok_or_else(error)?;
        let (host, is_below) = match host.strip_prefix('*') {
            Some(host) if host.starts_with('.') && host.len() > 1 => (host, true),
            Some(_) => return Err(error()),
            None => (host, false),
        };
        if host.is_empty() || host.contains(['*', '/', '?', '#', '@', ' ', ',']) || !host.is_ascii()
        {
            return Err(error());
        }
        let port = port.or_else(|| scheme.as_deref().and_then(default_port));
        let host = host.to_ascii_lowercase();
        let host = if is_below {
            HostRule::Below(host)
        } else {
            HostRule::Exact(host)
        };
        Ok(Self(Rule::Site { scheme, host, port }))
    }
}

impl fmt::Display for OriginRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match &self.0 {
            Rule::Any => return f.write_str("*"),
            Rule::Null => return f.write_str("null"),
            Rule::Site { scheme, host, port } => (scheme, host, port),
        };
        if let Some(scheme) = scheme {
            write!(f, "{scheme}://")?;
        }
        match host {
            HostRule::Exact(host) => f.write_str(host)?,
            HostRule::Below(domain) => write!(f, "*{domain}")?,
        }
        match port {
            Some(port) if scheme.as_deref().and_then(default_port) != Some(*port) => {
                write!(f, ":{port}")
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl OriginRule {
    fn allows(&self, origin: &str) -> bool {
        match &self.0 {
            Rule::Any => true,
            Rule::Null => origin == "null",
            Rule::Site { scheme, host, port } => {
                let Some(site) = Site::parse(origin) else {
                    return false;
                };
                scheme
                    .as_ref()
                    .is_none_or(|scheme| scheme.eq_ignore_ascii_case(site.scheme))
                    && port.is_none_or(|port| site.port == Some(port))
                    && host.matches(site.host)
            }
        }
    }
}

impl HostRule {
    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(exact) => exact.eq_ignore_ascii_case(host),
            Self::Below(domain) => host
                .len()
                .checked_sub(domain.len())
                .filter(|labels| *labels > 0)
                .and_then(|labels| host.get(labels..))
                .is_some_and(|end| end.eq_ignore_ascii_case(domain)),
        }
    }
}

/// Whether a page of `origin` may open a WebSocket at `host`, which is what the request's Host says.
///
/// Allowed are: no origin (not a browser), the same host and port (a missing port is the origin's scheme's own, so this holds behind a TLS
/// proxy too), and what a rule allows.
#[must_use]
pub fn origin_allowed(origin: Option<&str>, host: Option<&str>, rules: &[OriginRule]) -> bool {
    let Some(origin) = origin else { return true };
    is_same_host(origin, host) || rules.iter().any(|rule| rule.allows(origin))
}

fn is_same_host(origin: &str, host: Option<&str>) -> bool {
    let (Some(site), Some((host, port))) = (Site::parse(origin), host.and_then(split_port)) else {
        return false;
    };
    let port = port.or_else(|| default_port(site.scheme));
    !host.is_empty() && site.host.eq_ignore_ascii_case(host) && site.port == port
}

/// An origin taken apart (RFC 6454 section 6.1).
struct Site<'o> {
    scheme: &'o str,
    host: &'o str,
    port: Option<u16>,
}

impl<'o> Site<'o> {
    fn parse(origin: &'o str) -> Option<Self> {
        let (scheme, authority) = origin.split_once("://")?;
        let (host, port) = split_port(authority)?;
        Some(Self {
            scheme,
            host,
            port: port.or_else(|| default_port(scheme)),
        })
    }
}

/// `host[:port]`, where the host may be an IPv6 address in brackets; `None` if the port is no number.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let host_end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let Some(colon) = authority.get(host_end..)?.find(':') else {
        return Some((authority, None));
    };
    let (host, port) = authority.split_at_checked(host_end + colon)?;
    let port = port
        .strip_prefix(':')
        .filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some((host, Some(port.parse().ok()?)))
}

fn default_port(scheme: &str) -> Option<u16> {
    const PORTS: [(&str, u16); 4] = [("http", 80), ("https", 443), ("ws", 80), ("wss", 443)];
    PORTS
        .iter()
        .find(|(name, _)| scheme.eq_ignore_ascii_case(name))
        .map(|(_, port)| *port)
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|character: char| character.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origin: &str, host: &str, patterns: &[&str]) -> bool {
        let rules: Vec<OriginRule> = patterns
            .iter()
            .map(|pattern| pattern.parse().unwrap())
            .collect();
        origin_allowed(Some(origin), Some(host), &rules)
    }

    #[test]
    fn a_page_of_the_same_host_and_port_is_let_in() {
        for (origin, host) in [
            ("http://localhost:3032", "localhost:3032"),
            ("http://A.example", "a.example"),
            ("http://a.example", "a.example:80"),
            ("https://a.example", "a.example"),
            ("https://a.example", "a.example:443"),
            ("http://[::1]:3032", "[::1]:3032"),
            ("http://[::1]", "[::1]"),
        ] {
            assert!(allowed(origin, host, &[]), "{origin} at {host}");
        }
    }

    #[test]
    fn another_page_is_not() {
        for (origin, host) in [
            ("http://b.example", "a.example"),
            ("http://a.example:3032", "a.example"),
            ("https://a.example", "a.example:80"),
            ("http://a.example.evil.example", "a.example"),
            ("null", "a.example"),
            ("", "a.example"),
            ("http://", ""),
            ("http://a.example:x", "a.example"),
            ("file://", "a.example"),
        ] {
            assert!(!allowed(origin, host, &[]), "{origin} at {host}");
        }
        assert!(!origin_allowed(Some("http://a.example"), None, &[]));
    }

    #[test]
    fn who_is_no_browser_has_no_origin() {
        assert!(origin_allowed(None, Some("a.example"), &[]));
        assert!(origin_allowed(None, None, &[]));
    }

    #[test]
    fn rules_open_what_they_say_and_no_more() {
        let at = "chat.example";
        for (pattern, yes, no) in [
            (
                "https://a.example",
                vec!["https://a.example", "HTTPS://A.EXAMPLE:443"],
                vec![
                    "http://a.example",
                    "https://a.example:8443",
                    "https://b.a.example",
                ],
            ),
            (
                "https://a.example:8443",
                vec!["https://a.example:8443"],
                vec!["https://a.example"],
            ),
            (
                "a.example",
                vec!["http://a.example", "https://a.example:8443"],
                vec!["http://aa.example"],
            ),
            (
                "a.example:81",
                vec!["http://a.example:81"],
                vec!["http://a.example"],
            ),
            (
                "*.example.com",
                vec!["https://a.example.com", "http://a.b.example.com:99"],
                vec![
                    "https://example.com",
                    "https://badexample.com",
                    "https://a.example.com.evil.example",
                ],
            ),
            (
                "https://*.example.com",
                vec!["https://a.example.com"],
                vec!["http://a.example.com", "https://a.example.com:444"],
            ),
            ("*", vec!["https://any.example", "null"], vec![]),
            ("null", vec!["null"], vec!["http://null"]),
        ] {
            for origin in yes {
                assert!(allowed(origin, at, &[pattern]), "{pattern} allows {origin}");
            }
            for origin in no {
                assert!(
                    !allowed(origin, at, &[pattern]),
                    "{pattern} refuses {origin}"
                );
            }
        }
    }

    #[test]
    fn a_pattern_that_means_nothing_is_an_error() {
        for pattern in [
            "",
            "https://",
            "*example.com",
            "a.*.example",
            "https://a.example/path",
            "a:b",
            "://a",
            "**",
            "*.",
        ] {
            assert_eq!(
                pattern.parse::<OriginRule>(),
                Err(OriginRuleError(pattern.to_owned()))
            );
        }
    }

    #[test]
    fn a_rule_is_shown_as_it_was_written() {
        for pattern in [
            "*",
            "null",
            "https://a.example",
            "https://a.example:8443",
            "*.example.com",
            "a.example:81",
            "[::1]:3032",
        ] {
            assert_eq!(pattern.parse::<OriginRule>().unwrap().to_string(), pattern);
        }
    }
}
