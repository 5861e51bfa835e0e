//! sys

pub mod futex;
pub mod memory;
