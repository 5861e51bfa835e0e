//! The listening sockets of each generation, and their configurations.
//!
//! A reload keeps the sockets that it still wants, binds those that are new, and closes the others when
//! no worker of an older generation is left that may be respawned. It must not know who accepts on them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;

use crate::config::{Address, Config};
use crate::net::{BindError, ListenOptions, Listener, Purpose};

/// A listening socket, and how we came by it.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) listener: Listener,
    /// As the configuration has it; port 0 is not the port that it has got.
    pub(super) asked: Address,
    /// The service manager made it: it is listened on whether it is asked for or not, and never removed.
    pub(super) activated: bool,
    /// Inode of a unix socket's file.
    pub(super) inode: Option<u64>,
}

impl Bound {
    fn bind(
        address: &Address,
        purpose: Purpose,
        options: &ListenOptions,
    ) -> Result<Self, BindError> {
        let listener = Listener::bind(address, options)?.with_purpose(purpose);
        Ok(Self {
            inode: inode(address),
            listener,
            asked: address.clone(),
            activated: false,
        })
    }

    /// Goes on with a socket that the program before this one had.
    pub(super) fn inherit(
        fd: OwnedFd,
        asked: Address,
        purpose: Purpose,
        activated: bool,
        inode: Option<u64>,
    ) -> Self {
        Self {
            listener: Listener::inherit(fd, asked.clone()).with_purpose(purpose),
            asked,
            activated,
            inode,
        }
    }

    /// Takes a socket that the service manager made.
    pub(super) fn activated(listener: Listener) -> Self {
        Self {
            asked: listener.local_address().clone(),
            listener,
            activated: true,
            inode: None,
        }
    }

    fn is(&self, address: &Address, purpose: Purpose) -> bool {
        (self.asked == *address || self.listener.local_address() == address)
            && self.listener.purpose() == purpose
    }

    /// The file of a unix socket, if it is still the one we made.
    fn own_file(&self) -> Option<&Path> {
        let Address::Unix(path) = &self.asked else {
            return None;
        };
        (self.inode.is_some() && self.inode == inode(&self.asked)).then_some(path)
    }

    /// Removes the file of a unix socket, if it is still the one we made.
    pub(super) fn remove_file(&self) {
        if let Some(path) = self.own_file() {
            match fs::remove_file(path) {
                Ok(()) => log::info!("vacuum: {} is removed", path.display()),
                Err(error) => log::warn!("vacuum: {}: {error}", path.display()),
            }
        }
    }
}

fn inode(address: &Address) -> Option<u64> {
    match address {
        Address::Unix(path) => inode_of(path),
        Address::Tcp(_) => None,
    }
}

fn inode_of(path: &Path) -> Option<u64> {
    Some(fs::symlink_metadata(path).ok()?.ino())
}

/// The sockets that a configuration wants: those of `there` that are the same, new ones, and all that
/// the service manager made. If one cannot be bound, nothing is left of the others.
pub(super) fn bind(config: &Config, there: &[Rc<Bound>]) -> Result<Vec<Rc<Bound>>, BindError> {
    let clients = config
        .sockets
        .iter()
        .map(|address| (address, Purpose::Clients));
    let api = config.api.iter().map(|address| (address, Purpose::Api));
    let mut rest = there.to_vec();
    let mut wanted = take_or_bind_all(clients.chain(api), &mut rest, config)?;
    wanted.extend(rest.into_iter().filter(|bound| bound.activated));
    Ok(wanted)
}

/// Whether a configuration's sockets, and those of its statistics, can be had beside what is there: they
/// are bound, and let go at once.
pub(super) fn try_to_bind(
    config: &Config,
    there: &[Rc<Bound>],
    stats_there: &[Rc<Bound>],
) -> Result<(), BindError> {
    let listeners = bind(config, there)?;
    let stats = config
        .stats
        .iter()
        .map(|address| (address, Purpose::Clients));
    let stats = take_or_bind_all(stats, &mut stats_there.to_vec(), config);
    let_go(&listeners, there);
    stats.map(|bound| let_go(&bound, stats_there))
}

/// One socket for each address: taken out of `rest`, or a new one.
fn take_or_bind_all<'a>(
    addresses: impl Iterator<Item = (&'a Address, Purpose)>,
    rest: &mut Vec<Rc<Bound>>,
    config: &Config,
) -> Result<Vec<Rc<Bound>>, BindError> {
    let there = rest.clone();
    let mut wanted = Vec::new();
    for (address, purpose) in addresses {
        match take_or_bind(address, purpose, rest, config) {
            Ok(bound) => wanted.push(bound),
            Err(error) => {
                let_go(&wanted, &there);
                return Err(error);
            }
        }
    }
    Ok(wanted)
}

/// Removes the files of those sockets that have only just been bound.
fn let_go(bound: &[Rc<Bound>], there: &[Rc<Bound>]) {
    let is_new = |one: &&Rc<Bound>| !there.iter().any(|known| Rc::ptr_eq(known, one));
    for path in bound.iter().filter(is_new).filter_map(|one| one.own_file()) {
        if let Err(error) = fs::remove_file(path) {
            log::warn!("{} stays: {error}", path.display());
        }
    }
}

/// The socket of `there` that is the same, or a new one.
pub(super) fn take_or_bind(
    address: &Address,
    purpose: Purpose,
    there: &mut Vec<Rc<Bound>>,
    config: &Config,
) -> Result<Rc<Bound>, BindError> {
    if let Some(at) = there.iter().position(|bound| bound.is(address, purpose)) {
        return Ok(there.swap_remove(at));
    }
    let options = ListenOptions {
        backlog: config.listen_backlog,
        unix_mode: config.chmod_socket,
    };
    Ok(Rc::new(Bound::bind(address, purpose, &options)?))
}

/// A load of the configuration with its sockets.
#[derive(Debug, Clone)]
pub(super) struct Generation {
    pub(super) config: Config,
    pub(super) listeners: Vec<Rc<Bound>>,
}

/// By number; those that somebody may still be forked with. There is always one.
#[derive(Debug)]
pub(super) struct Generations {
    by_number: BTreeMap<u32, Generation>,
    latest: Generation,
}

impl Generations {
    pub(super) fn new(number: u32, generation: Generation) -> Self {
        Self {
            latest: generation.clone(),
            by_number: BTreeMap::from([(number, generation)]),
        }
    }

    /// The one that was loaded last and not given up.
    pub(super) fn latest(&self) -> &Generation {
        &self.latest
    }

    pub(super) fn insert(&mut self, number: u32, generation: Generation) {
        self.latest = generation.clone();
        self.by_number.insert(number, generation);
    }

    /// Lets another number mean the latest one too.
    pub(super) fn alias(&mut self, number: u32) {
        let latest = self.latest.clone();
        self.by_number.entry(number).or_insert(latest);
    }

    /// Gives up those that are not needed any more, and closes the sockets that only they had.
    pub(super) fn retain(&mut self, is_needed: impl Fn(u32) -> bool) {
        let (kept, gone) = std::mem::take(&mut self.by_number)
            .into_iter()
            .partition(|(number, _)| is_needed(*number));
        let gone: BTreeMap<u32, Generation> = gone;
        self.by_number = kept;
        if gone.is_empty() {
            return;
        }
        if let Some(last) = self.by_number.values().next_back() {
            self.latest = last.clone();
        }
        if self.latest.config.operations.vacuum {
            let closed = gone.values().flat_map(|generation| &generation.listeners);
            for bound in closed {
                if !self.sockets().any(|kept| Rc::ptr_eq(kept, bound)) {
                    bound.remove_file();
                }
            }
        }
    }

    /// Every socket, older generations' too; some more than once.
    pub(super) fn sockets(&self) -> impl Iterator<Item = &Rc<Bound>> {
        self.by_number
            .values()
            .flat_map(|generation| &generation.listeners)
    }

    /// Lets go of all sockets.
    pub(super) fn close(&mut self) {
        if self.latest.config.operations.vacuum {
            self.sockets().for_each(|bound| bound.remove_file());
        }
        self.latest.listeners.clear();
        for generation in self.by_number.values_mut() {
            generation.listeners.clear();
        }
    }

    /// The number of the latest.
    pub(super) fn number(&self) -> u32 {
        self.by_number.keys().next_back().copied().unwrap_or(0)
    }

    /// Where clients connect, for people.
    pub(super) fn names(&self) -> Vec<String> {
        let listeners = self.latest.listeners.iter().map(|bound| &bound.listener);
        listeners
            .filter(|listener| listener.purpose() == Purpose::Clients)
            .map(|listener| listener.local_address().to_string())
            .collect()
    }

    /// In a new worker: its configuration and its own handles on the sockets.
    pub(super) fn into_worker(mut self, number: u32) -> io::Result<(Config, Vec<Listener>)> {
        let generation = self
            .by_number
            .remove(&number)
            .ok_or_else(|| io::Error::other("the configuration of this generation is gone"))?;
        let listeners = generation
            .listeners
            .iter()
            .map(|bound| bound.listener.try_clone())
            .collect::<io::Result<_>>()?;
        Ok((generation.config, listeners))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    fn config(sockets: &[&str]) -> Config {
        let mut config = Config::new(&Environment::read());
        let parse = |text: &&str| Address::parse(text, true).unwrap();
        config.sockets = sockets.iter().map(parse).collect();
        config
    }

    fn generation(config: Config, there: &[Rc<Bound>]) -> Generation {
        Generation {
            listeners: bind(&config, there).unwrap(),
            config,
        }
    }

    #[test]
    fn a_reload_keeps_what_it_wants_and_closes_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let mut first = config(&["127.0.0.1:0", path.to_str().unwrap()]);
        first.operations.vacuum = true;
        let mut all = Generations::new(1, generation(first.clone(), &[]));
        let tcp = all.names()[0].clone();
        let mut second = config(&["127.0.0.1:0"]);
        second.operations.vacuum = true;
        let next = generation(second, &all.latest().listeners);
        all.insert(2, next);
        assert_eq!(
            all.names(),
            std::slice::from_ref(&tcp),
            "the same socket with the same port"
        );
        assert!(path.exists(), "the first generation may still need it");
        all.retain(|number| number == 2);
        assert!(!path.exists(), "nobody needs it any more");
        assert_eq!(
            all.into_worker(2).unwrap().1[0].local_address().to_string(),
            tcp
        );
    }

    #[test]
    fn a_generation_that_is_given_up_takes_its_sockets_with_it() {
        let mut all = Generations::new(1, generation(config(&["127.0.0.1:0"]), &[]));
        let before = all.names();
        let next = generation(
            config(&["127.0.0.1:0", "127.0.0.1:0"]),
            &all.latest().listeners,
        );
        all.insert(2, next);
        assert_eq!(all.names().len(), 2);
        all.retain(|number| number == 1);
        assert_eq!(all.names(), before);
    }

    #[test]
    fn a_file_that_somebody_else_has_put_there_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let mut config = config(&[path.to_str().unwrap()]);
        config.operations.vacuum = true;
        let mut all = Generations::new(1, generation(config, &[]));
        fs::write(folder.path().join("other"), "x").unwrap();
        fs::rename(folder.path().join("other"), &path).unwrap();
        all.close();
        assert!(path.exists());
    }
}
