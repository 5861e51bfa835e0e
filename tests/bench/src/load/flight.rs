//! Subscribers that must get every message once and in order, and the messages that are on their way to them. It must
//! not know who publishes, nor when.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use crate::Failure;
use crate::frames::{Checker, Template};
use crate::histogram::Histogram;
use crate::link::{Link, Received};

/// A connection on which every message has to come.
#[derive(Debug)]
pub struct Reader {
    /// The connection.
    pub link: Link,
    checker: Checker,
}

impl Reader {
    /// One to which nothing has come.
    pub fn new(link: Link) -> Self {
        Self {
            link,
            checker: Checker::default(),
        }
    }

    /// How many whole messages have come.
    pub fn received(&self) -> u64 {
        self.checker.received()
    }

    /// Takes all that has come; the numbers of the messages that are whole now.
    ///
    /// # Errors
    /// A wrong message, or the end of the connection.
    pub fn read(&mut self, buffer: &mut [u8], expected: &Template) -> Result<Range<u64>, Failure> {
        let before = self.received();
        loop {
            let read = match self.link.receive(buffer) {
                Received::Bytes(read) => read,
                Received::Nothing => break,
                Received::End => return Err("the server closed a connection".into()),
            };
            self.checker.check(&buffer[..read], expected)?;
            if read < buffer.len() {
                break;
            }
        }
        Ok(before..self.received())
    }
}

/// The messages that have left, numbered from 0.
#[derive(Debug, Default)]
pub struct Flight {
    /// Departure and missing arrivals of each that somebody misses, oldest first.
    open: VecDeque<(Instant, usize)>,
    departed: u64,
    /// Nanoseconds from departure to each arrival.
    pub latency: Histogram,
}

impl Flight {
    /// How many have left.
    pub fn departed(&self) -> u64 {
        self.departed
    }

    /// How many somebody misses.
    pub fn missing(&self) -> u64 {
        self.open.len() as u64
    }

    /// The next message leaves for so many readers, counted from `at`; its number.
    pub fn depart(&mut self, at: Instant, readers: usize) -> u64 {
        self.open.push_back((at, readers));
        self.departed += 1;
        self.departed - 1
    }

    /// One reader has got these.
    ///
    /// # Errors
    /// They have not left.
    pub fn arrive(&mut self, numbers: Range<u64>) -> Result<(), Failure> {
        if numbers.end > self.departed {
            return Err("the server delivered what was never published".into());
        }
        let now = Instant::now();
        let oldest = self.departed - self.missing();
        for number in numbers {
            let (departure, missing) = &mut self.open[usize::try_from(number - oldest)?];
            *missing -= 1;
            let ns = now.saturating_duration_since(*departure).as_nanos();
            self.latency.record(ns as u64, 1);
        }
        while self.open.front().is_some_and(|(_, missing)| *missing == 0) {
            self.open.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_missing_until_the_last_reader_has_it() {
        let mut flight = Flight::default();
        let now = Instant::now();
        assert_eq!((flight.depart(now, 2), flight.depart(now, 2)), (0, 1));
        flight.arrive(0..2).unwrap();
        assert_eq!((flight.departed(), flight.missing()), (2, 2));
        flight.arrive(0..1).unwrap();
        assert_eq!(flight.missing(), 1);
        flight.arrive(1..2).unwrap();
        assert_eq!(flight.missing(), 0);
        assert!(flight.arrive(2..3).is_err(), "it has not left");
    }
}
