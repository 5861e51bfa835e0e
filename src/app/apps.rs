//! The applications of one server, and which path belongs to which.

use super::{Api, App, Channels, Echo};
use crate::config::Config;

/// An application's number in this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppId(u8);

/// A name that no application has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--{option}: there is no app `{name}`; there are: {}", known.join(", "))]
pub struct UnknownApp {
    /// Where it was named, as on the command line but for the dashes.
    pub option: String,
    /// The name.
    pub name: String,
    /// Those that exist.
    pub known: Vec<&'static str>,
}

/// All applications, chosen by the path of a request.
pub struct Apps {
    apps: Vec<Box<dyn App>>,
    /// Paths without a trailing slash, longest first.
    mounts: Vec<(String, AppId)>,
    default: AppId,
    /// That of the API, which no path leads to.
    api: AppId,
}

impl std::fmt::Debug for Apps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.apps.iter().map(|app| app.name()).collect();
        f.debug_struct("Apps")
            .field("apps", &names)
            .field("mounts", &self.mounts)
            .finish()
    }
}

impl Apps {
    /// The built-in applications and perhaps one of the program's own, which is the default then.
    ///
    /// # Errors
    /// [`UnknownApp`] for a name in `--app` or `--mount` that no application has.
    pub fn new(config: &Config, own: Option<Box<dyn App>>) -> Result<Self, UnknownApp> {
        let mut apps: Vec<Box<dyn App>> = own.into_iter().collect();
        let default = apps.first().map_or("channels", |app| app.name());
        apps.push(Box::new(Channels::new(config.clients_publish)));
        apps.push(Box::new(Echo));
        let names: Vec<&'static str> = apps.iter().map(|app| app.name()).collect();
        let (default, mounts) = choose(config, default, &names)?;
        // Added when all names are found: no option reaches it.
        let api = AppId(u8::try_from(apps.len()).unwrap_or(u8::MAX));
        apps.push(Box::new(Api::new(config)));
        Ok(Self {
            apps,
            mounts,
            default,
            api,
        })
    }

    /// Whether [`Self::new`] would succeed with an own application of this name.
    ///
    /// # Errors
    /// As there.
    pub fn check(config: &Config, own: Option<&'static str>) -> Result<(), UnknownApp> {
        let built_in = [Channels::new(false).name(), Echo.name()];
        let names: Vec<&'static str> = own.into_iter().chain(built_in).collect();
        choose(config, own.unwrap_or("channels"), &names).map(drop)
    }

    /// The application of a path: that of the longest mount which is the path or a folder above it.
    pub fn route(&self, path: &str) -> AppId {
        let covers = |mount: &str| {
            path.strip_prefix(mount)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let mount = self.mounts.iter().find(|(mount, _)| covers(mount));
        mount.map_or(self.default, |(_, app)| *app)
    }

    /// The application of the API's listeners.
    pub fn api(&self) -> AppId {
        self.api
    }

    /// The application of that name.
    pub fn find(&self, name: &str) -> Option<AppId> {
        let at = self.apps.iter().position(|app| app.name() == name)?;
        u8::try_from(at).ok().map(AppId)
    }

    /// Its name.
    pub fn name(&self, id: AppId) -> &'static str {
        self.apps[usize::from(id.0)].name()
    }

    /// The application itself.
    pub fn get_mut(&mut self, id: AppId) -> &mut dyn App {
        self.apps[usize::from(id.0)].as_mut()
    }

    /// All of them, one after the other.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Box<dyn App>> {
        self.apps.iter_mut()
    }
}

/// Which of the applications of these names serves what: the default, and the mounts, longest first.
fn choose(
    config: &Config,
    default: &str,
    names: &[&'static str],
) -> Result<(AppId, Vec<(String, AppId)>), UnknownApp> {
    let find = |name: &str, option: &dyn Fn() -> String| {
        let found = names.iter().position(|known| *known == name);
        found
            .and_then(|at| u8::try_from(at).ok())
            .map(AppId)
            .ok_or_else(|| UnknownApp {
                option: option(),
                name: name.to_owned(),
                known: names.to_vec(),
            })
    };
    let default = config.app.as_deref().unwrap_or(default);
    let default = find(default, &|| format!("app {default}"))?;
    let mut mounts = Vec::new();
    for mount in &config.mounts {
        let option = || format!("mount {}=app:{}", mount.path, mount.app);
        let app = find(&mount.app, &option)?;
        mounts.push((mount.path.trim_end_matches('/').to_owned(), app));
    }
    mounts.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
    Ok((default, mounts))
}
