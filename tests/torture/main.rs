//! Torture of the shared area with real processes: random `kill -9` of publishers and readers, lapping,
//! holders of area locks, and a writer killed at every single step. The program runs itself again in child roles.
//!
//! `cargo test --test torture -- --seconds 60` runs the random parts for that long in all (default 5).
#![expect(
    clippy::print_stdout,
    reason = "this is a program of its own, its report is its output"
)]

mod areas;
mod children;
mod clock;
mod crash;
mod frames;
mod random;
mod recovery;

use std::error::Error;
use std::process::ExitCode;

/// What a case or a child ends with.
type Outcome = Result<(), Box<dyn Error>>;

/// Seconds for the random cases together, when nothing else is asked for.
const SECONDS_DEFAULT: u64 = 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(role) = arguments
        .first()
        .and_then(|first| first.strip_prefix("role="))
    {
        return match children::run(role, &arguments[1..]) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                println!("{role}: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let seconds = option(&arguments, "--seconds").unwrap_or(SECONDS_DEFAULT);
    let seed = option(&arguments, "--seed").unwrap_or_else(clock::seed);
    println!("torture: {seconds} s, seed {seed}");

    let mut report = Report::default();
    for case in crash::CASES {
        report.note(
            &format!("a writer killed at {case:?} is repaired"),
            crash::run(case),
        );
    }
    for case in areas::CASES {
        report.note(
            &format!("an area's writer killed at {case:?} is taken over from"),
            areas::run(case),
        );
    }
    let share_ms = seconds * 1000;
    report.note(
        "killed holders of area locks corrupt nothing and block nobody",
        areas::kill(seed, share_ms * 3 / 10),
    );
    report.note(
        "lapped readers see no torn frame",
        random::lap(seed, share_ms * 2 / 10),
    );
    report.note(
        "random kills corrupt nothing and block nobody",
        random::kill(seed, share_ms * 5 / 10),
    );
    println!("{} passed, {} failed", report.passed, report.failed);
    if report.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The number behind `name`. Other arguments belong to the usual harness and are ignored.
fn option(arguments: &[String], name: &str) -> Option<u64> {
    let at = arguments.iter().position(|argument| argument == name)?;
    arguments.get(at + 1)?.parse().ok()
}

#[derive(Default)]
struct Report {
    passed: u32,
    failed: u32,
}

impl Report {
    fn note(&mut self, case: &str, outcome: Outcome) {
        match outcome {
            Ok(()) => {
                self.passed += 1;
                println!("ok      {case}");
            }
            Err(error) => {
                self.failed += 1;
                println!("FAILED  {case}: {error}");
            }
        }
    }
}
