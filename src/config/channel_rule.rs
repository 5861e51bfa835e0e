//! What happens to clients that are slower than a channel: the values of `--channel`.
//!
//! A rule is a pattern of names and what holds for them. It must not know who subscribes.

use super::values::{Refused, seconds, whole};

const ALLOWED: &str = "PATTERN followed by any of ,slow=close|gap|latest ,close-bytes=N ,close-lag=SECONDS, \
    for example ticks.*,slow=latest";

/// What becomes of a client that does not take from the log as fast as it moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Slow {
    /// It gets everything in order, as long as the log has it; after that it is closed with 1013.
    #[default]
    Close,
    /// It gets everything in order, as long as the log has it; what is gone is left out.
    Gap,
    /// While it is behind, it gets only the newest message of a channel.
    Latest,
}

/// What holds for a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChannelPolicy {
    /// What becomes of slow clients.
    pub slow: Slow,
    /// A client that is so many bytes of the log behind is closed with 1013.
    pub close_bytes: Option<u64>,
    /// A client whose next message is so old is closed with 1013.
    pub close_lag_ms: Option<u64>,
}

/// A policy for all channels whose names match a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelRule {
    /// `*` stands for any characters, none included; everything else for itself.
    pub pattern: String,
    /// What holds for them.
    pub policy: ChannelPolicy,
}

impl ChannelRule {
    pub(super) fn parse(text: &str) -> Result<Self, Refused> {
        let refused = || Refused::new(ALLOWED);
        let mut parts = text.split(',');
        let pattern = parts.next().unwrap_or_default();
        if pattern.is_empty() || pattern.contains('=') || pattern.chars().any(char::is_control) {
            return Err(refused());
        }
        let mut policy = ChannelPolicy::default();
        for part in parts {
            let (key, value) = part.split_once('=').ok_or_else(refused)?;
            match key {
                "slow" => {
                    policy.slow = match value {
                        "close" => Slow::Close,
                        "gap" => Slow::Gap,
                        "latest" => Slow::Latest,
                        _ => return Err(refused()),
                    };
                }
                "close-bytes" => policy.close_bytes = Some(whole(value, 1..=1 << 40)?),
                "close-lag" => policy.close_lag_ms = Some(seconds(value, 1..=86_400_000)?),
                _ => return Err(refused()),
            }
        }
        Ok(Self {
            pattern: pattern.to_owned(),
            policy,
        })
    }

    /// Whether the rule is about the channel `name`.
    pub fn covers(&self, name: &str) -> bool {
        let mut parts = self.pattern.split('*');
        let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
            return false;
        };
        let mut parts = parts.peekable();
        if parts.peek().is_none() {
            return rest.is_empty();
        }
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.ends_with(part);
            }
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        true
    }
}

/// The policy of the first rule that covers `name`, or the default.
pub fn policy_of(rules: &[ChannelRule], name: &str) -> ChannelPolicy {
    rules
        .iter()
        .find(|rule| rule.covers(name))
        .map(|rule| rule.policy)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> ChannelRule {
        ChannelRule::parse(text).unwrap()
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, covered) in [
            ("news", "news", true),
            ("news", "newsroom", false),
            ("ticks.*", "ticks.eur", true),
            ("ticks.*", "ticks.", true),
            ("ticks.*", "ticks", false),
            ("*", "", true),
            ("*.log", "a.log", true),
            ("*.log", "a.log.gz", false),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*b*b", "ab", false),
            ("*ab*ab", "xab", false),
        ] {
            assert_eq!(rule(pattern).covers(name), covered, "{pattern} {name}");
        }
    }

    #[test]
    fn the_first_rule_counts() {
        let rules = [
            rule("ticks.*,slow=latest"),
            rule("*,slow=gap,close-bytes=9,close-lag=1.5"),
        ];
        assert_eq!(policy_of(&rules, "ticks.eur").slow, Slow::Latest);
        let other = ChannelPolicy {
            slow: Slow::Gap,
            close_bytes: Some(9),
            close_lag_ms: Some(1500),
        };
        assert_eq!(policy_of(&rules, "chat"), other);
        assert_eq!(policy_of(&rules[..1], "chat"), ChannelPolicy::default());
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        for text in [
            "",
            ",slow=gap",
            "a,slow",
            "a,slow=never",
            "a,fast=1",
            "slow=gap",
            "a,close-bytes=x",
        ] {
            assert!(ChannelRule::parse(text).is_err(), "{text}");
        }
    }
}
