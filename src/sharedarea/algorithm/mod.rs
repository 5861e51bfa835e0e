//! The algorithms of the shared area over an abstract memory ([`memory::Memory`]): the real mapping and
//! the loom models run the same code. Public for the models and the torture tests only: not an API.
//!
//! It must not know system calls, mappings or processes. Safe code only.

pub mod areas;
pub mod bell;
pub mod board;
pub mod channels;
pub mod lock;
pub mod log;
pub mod memory;
pub mod pin;
pub mod publish;
pub mod spool;
