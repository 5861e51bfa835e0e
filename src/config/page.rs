//! `docs/options.md`, made from the option table.
//!
//! It must not know anything that is not in the table.

use std::fmt::Write as _;

use super::options::{self, Group, OptionSpec, Takes};

const HEAD: &str = "# Options

Made from the option table in `src/config/options`; a test fails when this page is not current.
`BELLWETHER_WRITE_DOCS=1 cargo test --lib options_page` writes it again.

Names are uWSGI's where the meaning is the same. An option that takes one value and is given twice keeps the last one;
options marked *repeatable* add up. A flag is switched off again by `--name=false`.

The same names are the keys of a file that `--ini` names (see [operations.md](operations.md#configuration-files)). The
command line goes over the file: it overrides one value, and adds to a repeatable option.

    master --processes 8 --socket :3032

";

const VERBS: &str = "## Verbs

The same program talks to a running server through its control socket:

| command | what it does |
|---|---|
| `master publish CHANNEL [TEXT]` | sends TEXT, or standard input without TEXT or with `-`, to every client of the channel; `--binary` makes it a binary message; prints how many workers have it |
| `master tail CHANNEL` | prints what is published on the channel from now on, one message a line; `--json` one object a line |
| `master reload` | loads the configuration again and replaces the workers; returns when that is done, or says why not |
| `master upgrade` | replaces the program and the workers, likewise |
| `master scale N` | has N workers from now on, likewise |
| `master stop` | stops the server and returns when it has ended; `--fast` gives clients a close frame and no time |
| `master area info [AREA]` | shows the areas, or one, by number or name; `--json` for programs |
| `master area read AREA [POS [LEN]]` | prints bytes as they are; more than 1 MiB is read in pieces |
| `master area write AREA POS [TEXT]` | writes TEXT or standard input, up to `--websockets-max-size` |
| `master area send AREA CHANNEL [POS [LEN]]` | sends a range to every client of the channel, without a copy; `--binary` makes it a binary message |
| `master status` | shows workers, areas, channels and counters; `--json` for programs |

The server is found by `--instance NAME`, by `--socket ADDRESS` (or just `:PORT`), or, if only one runs, without either.
A server that does not answer for 10 s is given up with exit code 5; only `reload`, `upgrade`, `scale` and `stop` wait for as long as what they
ask for takes, and `tail` for messages.

## Exit codes

| code | meaning |
|---|---|
| 0 | stopped as asked, or the verb did its work |
| 1 | the command line or configuration is wrong |
| 2 | an address cannot be bound |
| 3 | workers cannot boot |
| 4 | a fault of the system or of ours |
| 5 | a verb found no running server, lost it, had no answer from it, or was refused |
";

/// The whole page.
pub fn options_page() -> String {
    let mut page = String::from(HEAD);
    for group in Group::ALL {
        // Writing to a String cannot fail.
        let _infallible = write!(
            page,
            "## {}\n\n| option | default | meaning |\n|---|---|---|\n",
            group.title()
        );
        for option in options::all().filter(|option| option.group == group) {
            page.push_str(&row(option));
        }
        page.push('\n');
    }
    page.push_str(VERBS);
    page
}

fn row(option: &OptionSpec) -> String {
    let value = match option.takes {
        Takes::Flag => String::new(),
        Takes::One(value) | Takes::Each(value) => format!(" {}", value.replace('|', "\\|")),
    };
    let mut names = format!("`--{}{value}`", option.name);
    for alias in option.aliases {
        names.push_str(&format!(", `--{alias}`"));
    }
    if let Some(letter) = option.short {
        names.push_str(&format!(", `-{letter}`"));
    }
    let repeats = match option.takes {
        Takes::Each(_) => "; repeatable",
        Takes::One(_) | Takes::Flag => "",
    };
    let default = match option.default {
        "" => String::new(),
        default => format!("`{default}`"),
    };
    let help = option.help.replace('|', "\\|").replace('*', "\\*");
    format!("| {names} | {default} | {help}{repeats} |\n")
}
