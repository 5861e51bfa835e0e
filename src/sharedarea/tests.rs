//! Unit tests of the area, in one process.
