//! master stand-in
pub mod supervisor;
