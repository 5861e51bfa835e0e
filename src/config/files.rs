//! Reads the configuration files that the command line names.
//!
//! It must not know what options mean.

use super::command::Settings;
use super::environment::Environment;
use super::ini;
use super::resolved::ConfigError;

/// Larger files are no configuration.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The settings of all `--ini` files, in their order, and then those of the command line, which so
/// go over them.
///
/// # Errors
/// A file that cannot be read, or what is wrong in it.
pub fn read_files(settings: Settings, environment: &Environment) -> Result<Settings, ConfigError> {
    let mut all = Vec::new();
    for file in settings.0.iter().filter(|given| given.option.name == "ini") {
        let path = environment.start_dir.join(&file.value);
        let unreadable = |problem: String| ConfigError::File {
            path: path.clone(),
            line: 0,
            problem,
        };
        let text = read(&path).map_err(|error| unreadable(format!("cannot be read: {error}")))?;
        all.extend(ini::parse(&text, &path)?);
    }
    all.extend(settings.0);
    Ok(Settings(all))
}

fn read(path: &std::path::Path) -> std::io::Result<String> {
    use std::io::Read as _;

    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}
