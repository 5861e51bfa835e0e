//! `--name value` and `--name` on the command lines of the bench programs. Nothing more: they are called by scripts.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::Failure;

/// What stands on a command line.
#[derive(Debug, Default)]
pub struct Options {
    words: Vec<String>,
    values: BTreeMap<String, String>,
}

impl Options {
    /// Reads this program's own arguments; `known` holds the names that take a value, `switches` the others.
    ///
    /// # Errors
    /// An unknown name, or a name without its value.
    pub fn from_command_line(known: &[&str], switches: &[&str]) -> Result<Self, Failure> {
        Self::parse(std::env::args().skip(1), known, switches)
    }

    fn parse(
        arguments: impl IntoIterator<Item = String>,
        known: &[&str],
        switches: &[&str],
    ) -> Result<Self, Failure> {
        let mut options = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let Some(name) = argument.strip_prefix("--") else {
                options.words.push(argument);
                continue;
            };
            let value = if switches.contains(&name) {
                String::new()
            } else if known.contains(&name) {
                arguments
                    .next()
                    .ok_or_else(|| format!("--{name} needs a value"))?
            } else {
                return Err(format!(
                    "unknown option --{name}; known: --{}",
                    [known, switches].concat().join(" --")
                )
                .into());
            };
            options.values.insert(name.to_owned(), value);
        }
        Ok(options)
    }

    /// The word at this place among those that are not options.
    pub fn word(&self, at: usize) -> Option<&str> {
        self.words.get(at).map(String::as_str)
    }

    /// Whether the option is there.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The text of an option.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The value of an option, or `default` where it is not there.
    ///
    /// # Errors
    /// A value that is no `T`.
    pub fn value<T: FromStr>(&self, name: &str, default: T) -> Result<T, Failure> {
        match self.text(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| format!("--{name} cannot be {text:?}").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, Failure> {
        Options::parse(line.split(' ').map(str::to_owned), &["rounds"], &["quick"])
    }

    #[test]
    fn words_values_and_switches_are_told_apart() {
        let options = parse("echo --rounds 3 --quick").unwrap();
        assert_eq!(options.word(0), Some("echo"));
        assert_eq!(options.value("rounds", 5).unwrap(), 3);
        assert!(options.has("quick"));
        assert!(!parse("echo").unwrap().has("quick"));
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        for line in ["--speed 3", "--rounds", "--rounds many"] {
            assert!(
                parse(line)
                    .and_then(|options| options.value("rounds", 0_u32))
                    .is_err(),
                "{line}"
            );
        }
    }
}
