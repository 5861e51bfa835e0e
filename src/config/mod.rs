//! What the user asked for: the option table, the command line made from it, and the plain data that comes out.
//!
//! The way of an option: [`options`] names it, [`command::parse`] records what was given as [`Settings`],
//! [`read_files`] puts in what the files say, [`resolve`] turns that into a [`Config`] with nothing left to look up. `--help` and `docs/options.md` are made
//! from the same table. Only this module looks at the environment.
//!
//! It must not know sockets, processes, the shared area or applications: an unknown application name, say, is found
//! by whoever knows the applications.

mod address;
mod area_option;
mod area_verb;
mod channel_rule;
mod command;
mod environment;
mod files;
mod ini;
mod operations;
pub mod options;
mod page;
mod resolved;
mod secret;
#[cfg(test)]
mod tests;
mod values;

pub use address::{Address, AddressError};
pub use area_verb::AreaVerb;
pub use channel_rule::{ChannelPolicy, ChannelRule, Slow, policy_of};
pub use command::{Invocation, Setting, Settings, Target, Usage, Verb, parse};
pub use environment::{Activation, Environment, program_path};
pub use files::read_files;
pub use operations::{Operations, Orphans};
pub use page::options_page;
pub use resolved::{Config, ConfigError, LogFormat, Mount, PROCESSES_MAX, StatsStyle, resolve};
pub use secret::Secret;
