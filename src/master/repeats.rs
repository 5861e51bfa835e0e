//! Which of a warning's repetitions are written: one a second, and how many were left out.
//!
//! Pure; the time is given. It must not know how lines are written.

use std::collections::BTreeMap;

/// The same warning is written at most once in this time.
const PAUSE_MS: u64 = 1_000;

/// Where in the code a warning is: what comes from there is the same warning.
pub(super) type Site = (&'static str, u32);

/// Warnings that were written lately. There are no more than places in the code that warn.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    by_site: BTreeMap<Site, Repeat>,
}

#[derive(Debug)]
struct Repeat {
    written_ms: u64,
    text: String,
    left_out: u64,
}

impl Repeats {
    pub(super) const fn new() -> Self {
        Self {
            by_site: BTreeMap::new(),
        }
    }

    /// Whether a warning is to be written now, and how many like it were left out before.
    pub(super) fn note(
        &mut self,
        site: Site,
        now_ms: u64,
        text: impl FnOnce() -> String,
    ) -> Option<u64> {
        match self.by_site.get_mut(&site) {
            Some(repeat) if now_ms < repeat.written_ms + PAUSE_MS => {
                repeat.left_out += 1;
                None
            }
            Some(repeat) => {
                repeat.written_ms = now_ms;
                repeat.text = text();
                Some(std::mem::take(&mut repeat.left_out))
            }
            None => {
                let repeat = Repeat {
                    written_ms: now_ms,
                    text: text(),
                    left_out: 0,
                };
                self.by_site.insert(site, repeat);
                Some(0)
            }
        }
    }

    /// Warnings whose time is over and that were left out since: what was written, and how many.
    pub(super) fn overdue(&mut self, now_ms: u64) -> Vec<(String, u64)> {
        let is_over = |repeat: &Repeat| now_ms >= repeat.written_ms + PAUSE_MS;
        let mut overdue = Vec::new();
        self.by_site.retain(|_, repeat| {
            if is_over(repeat) && repeat.left_out > 0 {
                overdue.push((std::mem::take(&mut repeat.text), repeat.left_out));
            }
            !is_over(repeat)
        });
        overdue
    }

    /// Whether anything was left out that nobody was told of.
    pub(super) fn has_left_out(&self) -> bool {
        self.by_site.values().any(|repeat| repeat.left_out > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Site = ("here", 1);

    #[test]
    fn one_a_second_is_written_and_the_others_counted() {
        let mut repeats = Repeats::default();
        let mut note = |site, now_ms| repeats.note(site, now_ms, String::new);
        assert_eq!(note(HERE, 0), Some(0));
        assert_eq!(note(HERE, 1), None);
        assert_eq!(note(HERE, 999), None);
        assert_eq!(note(("here", 2), 999), Some(0), "another warning");
        assert_eq!(note(HERE, 1_000), Some(2));
        assert_eq!(note(HERE, 1_500), None);
    }

    #[test]
    fn what_does_not_come_again_is_told_all_the_same() {
        let mut repeats = Repeats::default();
        for now_ms in 0..5 {
            repeats.note(HERE, now_ms, || "text".to_owned());
        }
        assert!(repeats.has_left_out());
        assert!(repeats.overdue(999).is_empty());
        assert_eq!(repeats.overdue(1_000), [("text".to_owned(), 4)]);
        assert!(!repeats.has_left_out());
        assert_eq!(repeats.note(HERE, 1_001, String::new), Some(0));
    }
}
