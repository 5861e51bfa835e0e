//! Configuration files in uWSGI's ini syntax: text to settings.
//!
//! `[uwsgi]` and `[bellwether]` sections are read, others are somebody else's. `key = value` splits at
//! the first `=`; a key alone switches a flag on; a repeated key adds or overrides as its option does.
//! Comments stand on lines of their own and begin with `;` or `#`. uWSGI's substitutions (`%d`,
//! `$(NAME)`, `@(file)`) are refused rather than misread; `%%` is a percent sign. Pure. It must not know
//! where the text comes from.

use std::path::Path;

use super::command::Setting;
use super::options::{self, OptionSpec, Takes};
use super::resolved::ConfigError;

const SECTIONS: [&str; 2] = ["uwsgi", "bellwether"];
/// Names less alike than this are not what was meant.
const ALIKE_MIN: f64 = 0.8;

/// The settings of a file, in its order.
pub(super) fn parse(text: &str, path: &Path) -> Result<Vec<Setting>, ConfigError> {
    // Some editors begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut settings = Vec::new();
    let mut inside = false;
    let mut found = false;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        let wrong = |problem: String| ConfigError::File {
            path: path.to_path_buf(),
            line: number,
            problem,
        };
        if let Some(rest) = line.strip_prefix('[') {
            let name = rest
                .strip_suffix(']')
                .ok_or_else(|| wrong("the section's name has no end: `]` is missing".to_owned()))?;
            inside = SECTIONS.contains(&name.trim());
            found |= inside;
        } else if inside {
            let (option, value) = setting(line).map_err(wrong)?;
            settings.push(Setting {
                option,
                value,
                origin: format!("{}:{number}", path.display()),
            });
        }
    }
    if found {
        return Ok(settings);
    }
    Err(ConfigError::File {
        path: path.to_path_buf(),
        line: 0,
        problem: "has no section [uwsgi] or [bellwether]".to_owned(),
    })
}

/// One line; the error is what is wrong with it.
fn setting(line: &str) -> Result<(&'static OptionSpec, String), String> {
    let (key, value) = match line.split_once('=') {
        Some((key, value)) => (key.trim(), Some(value.trim())),
        None => (line, None),
    };
    let option = find(key).ok_or_else(|| unknown(key))?;
    if option.name == "ini" {
        return Err("a file cannot include another one".to_owned());
    }
    if option.name == "check" {
        return Err(
            "`check` belongs on the command line: a file is read by servers too".to_owned(),
        );
    }
    let value = match (value, option.takes) {
        (Some(value), _) => plain(value)?,
        (None, Takes::Flag) => "true".to_owned(),
        (None, Takes::One(what) | Takes::Each(what)) => {
            return Err(format!("`{key}` needs a value: {key} = {what}"));
        }
    };
    Ok((option, value))
}

fn find(key: &str) -> Option<&'static OptionSpec> {
    options::all().find(|option| option.name == key || option.aliases.contains(&key))
}

fn unknown(key: &str) -> String {
    let names = options::all().flat_map(|option| {
        let aliases = option.aliases.iter().copied();
        std::iter::once(option.name).chain(aliases)
    });
    let alike = names
        .map(|name| (strsim::jaro(key, name), name))
        .filter(|(alike, _)| *alike >= ALIKE_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match alike {
        Some((_, name)) => format!("there is no option `{key}`; is `{name}` meant?"),
        None => format!("there is no option `{key}`"),
    }
}

/// The value without doubled percent signs; an error if something would have to be put in.
fn plain(value: &str) -> Result<String, String> {
    if let Some(start) = ["$(", "@("].iter().find(|start| value.contains(**start)) {
        return Err(format!(
            "`{start}...)` is not supported: write the value itself"
        ));
    }
    let halves: Vec<&str> = value.split("%%").collect();
    if halves.iter().any(|half| half.contains('%')) {
        return Err("`%` is not supported: write the value itself, and `%%` for a `%`".to_owned());
    }
    Ok(halves.join("%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(&'static str, String, String)> {
        parse(text, Path::new("a.ini"))
            .unwrap()
            .into_iter()
            .map(|setting| (setting.option.name, setting.value, setting.origin))
            .collect()
    }

    fn wrong(text: &str) -> String {
        parse(text, Path::new("a.ini")).unwrap_err().to_string()
    }

    #[test]
    fn settings_come_in_order_with_their_lines() {
        let text = "; a comment\n[other]\nsocket = :1\n[uwsgi]\nsocket = :2\n  # more\nsocket=:3 ; kept\n\
                    \n[bellwether]\nworkers = 4\nclients-publish\n";
        let expected = [
            ("socket", ":2", "a.ini:5"),
            ("socket", ":3 ; kept", "a.ini:7"),
            ("processes", "4", "a.ini:10"),
            ("clients-publish", "true", "a.ini:11"),
        ];
        let expected = expected.map(|(name, value, at)| (name, value.to_owned(), at.to_owned()));
        assert_eq!(read(text), expected);
        assert_eq!(read(&format!("\u{feff}{text}")), expected);
        let mount = read("[uwsgi]\nmount = /a=app:echo\ninstance = 100%%\n");
        assert_eq!(mount[0].1, "/a=app:echo");
        assert_eq!(mount[1].1, "100%");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, message) in [
            (
                "[uwsgi]\nproceses = 4\n",
                "a.ini:2: there is no option `proceses`; is `processes` meant?",
            ),
            ("[uwsgi]\nzzz = 1\n", "a.ini:2: there is no option `zzz`"),
            (
                "[uwsgi]\nprocesses\n",
                "a.ini:2: `processes` needs a value: processes = N",
            ),
            (
                "[uwsgi]\nsocket = %d/a.sock\n",
                "a.ini:2: `%` is not supported: write the value itself, and `%%` for a `%`",
            ),
            (
                "[uwsgi]\nsocket = :$(PORT)\n",
                "a.ini:2: `$(...)` is not supported: write the value itself",
            ),
            (
                "[uwsgi\n",
                "a.ini:1: the section's name has no end: `]` is missing",
            ),
            (
                "[uwsgi]\nini = b.ini\n",
                "a.ini:2: a file cannot include another one",
            ),
            (
                "[uwsgi]\ncheck = false\n",
                "a.ini:2: `check` belongs on the command line: a file is read by servers too",
            ),
            (
                "socket = :1\n",
                "a.ini: has no section [uwsgi] or [bellwether]",
            ),
        ] {
            assert_eq!(wrong(text), message);
        }
    }
}
