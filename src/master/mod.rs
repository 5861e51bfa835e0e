//! The master: binds, makes the shared area, forks workers, supervises them, obeys signals and verbs.
//!
//! [`supervisor`] decides and is pure; [`run`] drives it with a loop around `poll(2)` that does what was
//! decided. No threads (fork must be sound), nothing blocks, and only the start may end the master
//! unasked. It must not know what workers do with their clients.
//!
//! Life of a worker: fork, with one end of a packet socket for orders and reports (its end of file is the
//! lifeline: a worker whose master is gone leaves); [`Report::Ready`](crate::worker::Report::Ready); an
//! order to drain; its exit, after which the master sweeps its slot in the shared area.
//!
//! Tests: stories beside the code, random lives in `tests/sim`, real processes in `tests/it`.

mod clock;
pub mod control;
mod fifo;
mod health;
pub mod instance;
mod letters;
mod listeners;
pub mod logging;
mod message;
mod neighbour;
mod notes;
mod notify;
mod obey;
mod outside;
mod perform;
pub mod place;
mod probe;
mod repeats;
mod roster;
mod serve;
mod share;
pub mod signals;
mod start;
mod stats;
pub mod supervisor;
pub mod takeover;
mod touch;
mod upgrade;

use std::io;

use crate::config::Config;
use crate::worker::Seat;

pub use start::{Launch, StartError, check_start, check_takeover};
pub use upgrade::Program;

/// Resolves the configuration again, for a reload; the error is a sentence for the log.
pub type LoadConfig<'c> = dyn FnMut() -> Result<Config, String> + 'c;

/// What this process has become when [`run`] returns. Fork returns twice, and so does `run`.
#[derive(Debug)]
pub enum Role {
    /// The master, which is done: exit with this code.
    Ended(u8),
    /// A worker: serve from this seat.
    Worker(Box<Seat>),
}

/// Starts a server and supervises it until it ends.
///
/// # Errors
/// What is in the way of the start; nothing is left behind then. Once the server runs, only a failing
/// `poll(2)` or a child that cannot take its seat is an error.
pub fn run(launch: Launch, load_config: &mut LoadConfig<'_>) -> Result<Role, StartError> {
    let start = start::Start::new(launch)?;
    let mut master = serve::Master::new(start, load_config);
    let system = |doing| move |source: io::Error| StartError::System { doing, source };
    match master.serve().map_err(system("wait for events"))? {
        serve::Leave::Ended { code } => {
            master.clear();
            log::info!("ended");
            Ok(Role::Ended(code))
        }
        // Only its code counts, and the master clears what is there to be cleared.
        serve::Leave::Checked { code } => Ok(Role::Ended(code)),
        serve::Leave::Child(child) => {
            let seat = master.into_seat(child).map_err(system("take a seat"))?;
            Ok(Role::Worker(Box::new(seat)))
        }
    }
}
