//! Programs that others wrote talk to the real server: tungstenite, Python's websockets, node's ws, Chromium.
//!
//! The server is the built `master`, on a free port and in a run directory of its own. The other runtimes are named
//! by environment variables, as a machine may lack them (`foreign`); a test without its runtime says `skipped` and
//! passes, except in CI, where it fails. What they must not know: anything of the library under test.

mod browser;
mod foreign;
mod rust;
mod scripts;
mod server;
