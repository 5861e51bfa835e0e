//! Listening addresses as the user writes them: `:3032`, `127.0.0.1:3032`, `[::1]:3032`, `localhost:3032`, `/path.sock`.
//!
//! Pure text to data. It must not know how an address is bound, nor ask a name server: names other than `localhost`
//! are refused, because a look-up at start would make the server depend on one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

/// Longest path of a unix socket: `sun_path` is 108 bytes with its closing NUL.
pub(super) const UNIX_PATH_BYTES_MAX: usize = 107;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and port. `[::]` means every IPv6 *and* IPv4 address of the machine (one dual-stack socket);
    /// port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// The path of a unix stream socket, at most 107 bytes.
    Unix(PathBuf),
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    /// No port behind the last colon, or no colon at all.
    #[error("the port is missing")]
    NoPort,
    /// The port is not a number from 0 to 65535.
    #[error("{0:?} is not a port (0 to 65535)")]
    BadPort(String),
    /// The host is neither an IP address nor `localhost`.
    #[error("{0:?} is not an IP address (names are not looked up, except localhost)")]
    BadHost(String),
    /// The path does not fit the kernel's address structure.
    #[error("the path of a unix socket, seen from /, has at most {UNIX_PATH_BYTES_MAX} bytes")]
    PathTooLong,
}

impl Address {
    /// Reads an address. `:PORT` means every address of the machine: dual-stack when `ipv6` says that the machine
    /// has IPv6, else IPv4 only.
    pub fn parse(text: &str, ipv6: bool) -> Result<Self, AddressError> {
        if text.starts_with('/') || text.starts_with("./") {
            if text.len() > UNIX_PATH_BYTES_MAX {
                return Err(AddressError::PathTooLong);
            }
            return Ok(Self::Unix(PathBuf::from(text)));
        }
        let (host, port) = text.rsplit_once(':').ok_or(AddressError::NoPort)?;
        if port.is_empty() {
            return Err(AddressError::NoPort);
        }
        // `parse` alone would take "+80".
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = (if digits { port.parse().ok() } else { None })
            .ok_or_else(|| AddressError::BadPort(port.to_owned()))?;
        Ok(Self::Tcp(SocketAddr::new(host_address(host, ipv6)?, port)))
    }

    /// The same from wherever it is looked at: a relative path begins in `folder`.
    pub fn seen_from(self, folder: &Path) -> Result<Self, AddressError> {
        match self {
            Self::Unix(path) if path.is_relative() => {
                // The components leave out the "." of "./".
                let path: PathBuf = folder.join(path).components().collect();
                if path.as_os_str().len() > UNIX_PATH_BYTES_MAX {
                    return Err(AddressError::PathTooLong);
                }
                Ok(Self::Unix(path))
            }
            Self::Unix(_) | Self::Tcp(_) => Ok(self),
        }
    }

    /// The port, for TCP addresses.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }

    /// What names an instance that listens here: the port, or the file name of the unix socket without its extension.
    pub fn instance_name(&self) -> String {
        match self {
            Self::Tcp(address) => address.port().to_string(),
            Self::Unix(path) => path
                .file_stem()
                .unwrap_or(path.as_os_str())
                .to_string_lossy()
                .into_owned(),
        }
    }
}

fn host_address(host: &str, ipv6: bool) -> Result<IpAddr, AddressError> {
    let bad = || AddressError::BadHost(host.to_owned());
    match host {
        "" if ipv6 => Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        "" | "*" => Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        bracketed if bracketed.starts_with('[') => bracketed
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .and_then(|inner| Ipv6Addr::from_str(inner).ok())
            .map(IpAddr::V6)
            .ok_or_else(bad),
        // A bare IPv6 address is ambiguous with its port, so it needs the brackets.
        plain => Ipv4Addr::from_str(plain).map(IpAddr::V4).map_err(|_| bad()),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::Unix(path.to_path_buf())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_forms_are_read() {
        for (text, ipv6, shown) in [
            (":3032", true, "[::]:3032"),
            (":3032", false, "0.0.0.0:3032"),
            ("*:80", true, "0.0.0.0:80"),
            ("127.0.0.1:3032", true, "127.0.0.1:3032"),
            ("[::1]:3032", true, "[::1]:3032"),
            ("localhost:0", true, "127.0.0.1:0"),
            ("/run/a.sock", true, "/run/a.sock"),
            ("./a.sock", true, "./a.sock"),
        ] {
            let address = Address::parse(text, ipv6).unwrap();
            assert_eq!(address.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for (text, error) in [
            ("3032", AddressError::NoPort),
            ("127.0.0.1:", AddressError::NoPort),
            ("", AddressError::NoPort),
            (":65536", AddressError::BadPort("65536".into())),
            (":+80", AddressError::BadPort("+80".into())),
            (":http", AddressError::BadPort("http".into())),
            ("::1:80", AddressError::BadHost("::1".into())),
            ("[::1:80", AddressError::BadHost("[::1".into())),
            (
                "example.org:80",
                AddressError::BadHost("example.org".into()),
            ),
            ("300.0.0.1:80", AddressError::BadHost("300.0.0.1".into())),
        ] {
            assert_eq!(Address::parse(text, true), Err(error), "{text}");
        }
        let long = format!("/{}", "a".repeat(UNIX_PATH_BYTES_MAX));
        assert_eq!(Address::parse(&long, true), Err(AddressError::PathTooLong));
        assert!(Address::parse(&long[..UNIX_PATH_BYTES_MAX], true).is_ok());
    }

    #[test]
    fn a_relative_path_becomes_one_that_is_the_same_everywhere() {
        let seen = |text| {
            Address::parse(text, true)
                .unwrap()
                .seen_from(Path::new("/srv/x"))
        };
        for (text, shown) in [
            ("./a.sock", "/srv/x/a.sock"),
            ("./b/../a.sock", "/srv/x/b/../a.sock"),
            ("/run/./a.sock", "/run/./a.sock"),
            (":80", "[::]:80"),
        ] {
            assert_eq!(seen(text).unwrap().to_string(), shown);
        }
        let long = format!("./{}", "a".repeat(UNIX_PATH_BYTES_MAX - 6));
        assert_eq!(seen(&long), Err(AddressError::PathTooLong));
        assert!(seen(&long[..long.len() - 1]).is_ok());
    }

    #[test]
    fn an_instance_is_named_by_its_port_or_its_file() {
        for (text, name) in [
            (":3032", "3032"),
            ("/run/chat.sock", "chat"),
            ("/run/chat", "chat"),
        ] {
            assert_eq!(Address::parse(text, true).unwrap().instance_name(), name);
        }
    }
}
