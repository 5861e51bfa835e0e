//! sys
pub mod limits;
pub mod process;
