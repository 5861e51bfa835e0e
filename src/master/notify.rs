//! Tells the service manager how we are (`sd_notify(3)`): plain datagrams.
//!
//! It must not know when what is told.

use std::ffi::{OsStr, OsString};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::time::{ClockId, clock_gettime};

use crate::config::Activation;

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub(super) struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// It must hear of us this often.
    watchdog_ms: Option<u64>,
}

impl Notifier {
    /// By the variables of this process, whose id is `pid`.
    pub(super) fn new(activation: &Activation, pid: u32) -> Self {
        let to = activation.notify_socket.as_ref().and_then(|name| {
            let opened = UnixDatagram::unbound().and_then(|socket| {
                socket.set_nonblocking(true)?;
                Ok((socket, address(name)?))
            });
            opened
                .inspect_err(|error| log::warn!("NOTIFY_SOCKET {}: {error}", name.display()))
                .ok()
        });
        let watchdog_ms = to.is_some().then(|| watchdog_ms(activation, pid)).flatten();
        Self { to, watchdog_ms }
    }

    /// Ready, or ready again.
    pub(super) fn ready(&self, status: &str) {
        let pid = std::process::id();
        self.tell(&format!("READY=1\nMAINPID={pid}\nSTATUS={status}\n"));
    }

    /// A reload or upgrade begins; `ready` ends it.
    pub(super) fn reloading(&self, status: &str) {
        let now_us = clock_gettime(ClockId::CLOCK_MONOTONIC)
            .map_or(0, |now| now.tv_sec() * 1_000_000 + now.tv_nsec() / 1_000);
        self.tell(&format!(
            "RELOADING=1\nMONOTONIC_USEC={now_us}\nSTATUS={status}\n"
        ));
    }

    pub(super) fn stopping(&self, status: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={status}\n"));
    }

    pub(super) fn status(&self, status: &str) {
        self.tell(&format!("STATUS={status}\n"));
    }

    /// We live, and so do all workers.
    pub(super) fn alive(&self) {
        self.tell("WATCHDOG=1\n");
    }

    /// How often [`Self::alive`] is expected, at the least.
    pub(super) fn watchdog_ms(&self) -> Option<u64> {
        self.watchdog_ms
    }

    fn tell(&self, text: &str) {
        if let Some((socket, address)) = &self.to
            && let Err(error) = socket.send_to_addr(text.as_bytes(), address)
        {
            log::debug!("the service manager does not hear {text:?}: {error}");
        }
    }
}

/// A path, or a name without one that begins with `@`.
fn address(name: &OsString) -> std::io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(OsStr::new(name)),
    }
}

/// The watchdog is meant for the process of `WATCHDOG_PID`, or for whoever has the variable.
fn watchdog_ms(activation: &Activation, pid: u32) -> Option<u64> {
    let (usec, of) = activation.watchdog.as_ref()?;
    if of.as_ref().is_some_and(|of| of.parse() != Ok(pid)) {
        return None;
    }
    let usec: u64 = usec.parse().ok()?;
    (usec > 0).then_some(usec / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activation(socket: &OsStr, usec: &str, pid: Option<&str>) -> Activation {
        Activation {
            notify_socket: Some(socket.to_owned()),
            watchdog: Some((usec.to_owned(), pid.map(str::to_owned))),
            ..Activation::default()
        }
    }

    #[test]
    fn the_service_manager_hears_every_word() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(&activation(path.as_os_str(), "2000000", None), 7);
        assert_eq!(notifier.watchdog_ms(), Some(2_000));
        let heard = || {
            let mut text = [0; 256];
            let count = manager.recv(&mut text).unwrap();
            String::from_utf8_lossy(&text[..count]).into_owned()
        };
        notifier.ready("2 workers");
        assert!(heard().starts_with("READY=1\nMAINPID="));
        notifier.reloading("generation 2");
        let text = heard();
        assert!(text.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{text}");
        notifier.alive();
        assert_eq!(heard(), "WATCHDOG=1\n");
        notifier.stopping("bye");
        assert_eq!(heard(), "STOPPING=1\nSTATUS=bye\n");
    }

    #[test]
    fn nobody_and_another_process_are_not_told() {
        Notifier::default().ready("nobody");
        let elsewhere = activation(OsStr::new("@nobody"), "2000", Some("8"));
        assert_eq!(Notifier::new(&elsewhere, 7).watchdog_ms(), None);
        assert_eq!(Notifier::new(&elsewhere, 8).watchdog_ms(), Some(2));
    }
}
