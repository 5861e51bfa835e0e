//! Numbers of things in words. It must not know what is counted.

use std::fmt::{self, Display};

/// `1 worker`, `2 workers`: for nouns whose plural has an `s` and nothing else.
pub fn counted(count: impl TryInto<u64>, noun: &'static str) -> impl Display {
    Counted {
        // What does not fit is more than anybody will read.
        count: count.try_into().unwrap_or(u64::MAX),
        noun,
    }
}

struct Counted {
    count: u64,
    noun: &'static str,
}

impl Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, noun } = self;
        let plural = if *count == 1 { "" } else { "s" };
        write!(f, "{count} {noun}{plural}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        let text = [0_u64, 1, 2].map(|count| counted(count, "client").to_string());
        assert_eq!(text, ["0 clients", "1 client", "2 clients"]);
    }
}
