//! Tests of the whole way from arguments to plain data.

mod operated;
mod verbs;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::options::{self, Takes};
use super::*;
use crate::sharedarea::AreaSize;

fn environment() -> Environment {
    Environment {
        xdg_runtime_dir: None,
        uid: 1000,
        processors: 6,
        ipv6: true,
        has_sockets: false,
        start_dir: "/srv".into(),
    }
}

fn invoke(arguments: &[&str]) -> Result<Invocation, Usage> {
    let arguments = std::iter::once("master").chain(arguments.iter().copied());
    parse(arguments.map(OsString::from), &environment())
}

fn config(arguments: &[&str]) -> Result<Config, ConfigError> {
    match invoke(arguments) {
        Ok(Invocation::Serve(settings)) => resolve(&settings, &environment()),
        other => panic!("not a server's command line: {other:?}"),
    }
}

fn wrong(arguments: &[&str]) -> String {
    match invoke(arguments) {
        Err(Usage::Wrong(error)) => Usage::Wrong(error).to_string(),
        other => panic!("{arguments:?} was not refused: {other:?}"),
    }
}

#[test]
fn the_first_command_of_the_readme_is_understood() {
    let config = config(&["--processes", "8", "--socket", ":3032"]).unwrap();
    assert_eq!(config.processes, 8);
    assert_eq!(config.sockets, [Address::parse(":3032", true).unwrap()]);
    assert_eq!(config.run_dir, PathBuf::from("/tmp/bellwether-1000"));
    assert_eq!(config.log_entries, 131_072);
}

#[test]
fn short_names_aliases_and_repeats_work() {
    let config = config(&[
        "-p",
        "2",
        "--workers=3",
        "-s",
        ":1",
        "-s",
        "/a.sock",
        "-C",
        "660",
    ])
    .unwrap();
    assert_eq!(config.processes, 3);
    assert_eq!(config.sockets.len(), 2);
    assert_eq!(config.chmod_socket, Some(0o660));
    assert!(!config.clients_publish);
}

#[test]
fn a_flag_can_be_switched_off_again() {
    for (arguments, on) in [
        (&["--clients-publish"][..], true),
        (&["--clients-publish=true"], true),
        (&["--clients-publish", "--clients-publish=false"], false),
    ] {
        let all = [&["-s", ":1"], arguments].concat();
        assert_eq!(config(&all).unwrap().clients_publish, on, "{arguments:?}");
    }
}

#[test]
fn auto_takes_the_processors_of_this_process() {
    assert_eq!(config(&["-s", ":1", "-p", "auto"]).unwrap().processes, 6);
}

#[test]
fn a_wrong_value_names_option_value_and_what_is_allowed() {
    for (arguments, message) in [
        (
            ["--processes", "many"],
            "--processes \"many\" (command line): allowed is a whole number from 1 to 62, or auto",
        ),
        (
            ["--spool-size", "1000"],
            "--spool-size \"1000\" (command line): allowed is a power of two from 64 to 16777216",
        ),
        (
            ["--mount", "echo=app:echo"],
            "--mount \"echo=app:echo\" (command line): allowed is /PATH=app:NAME, for example /echo=app:echo",
        ),
        (
            ["--socket", "localhost"],
            "--socket \"localhost\" (command line): allowed is :PORT, IPV4:PORT, [IPV6]:PORT, localhost:PORT \
             or /path.sock (the port is missing)",
        ),
        (
            ["--instance", "../etc"],
            "--instance \"../etc\" (command line): allowed is 1 to 64 letters, digits, '-', '_' or '.', not \
             starting with '.'",
        ),
    ] {
        let error = config(&arguments).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn every_option_refuses_nonsense() {
    // These take any text, or a file is looked for.
    let anything = [
        "app",
        "ini",
        "touch-reload",
        "master-fifo",
        "pidfile",
        "daemonize",
        "logto",
        "chdir",
        "uid",
        "gid",
    ];
    for option in options::all().filter(|option| !anything.contains(&option.name)) {
        let nonsense = match option.name {
            "run-dir" => "",
            "origin" => "https://",
            _ => "\u{1}",
        };
        let argument = format!("--{}={nonsense}", option.name);
        let error = config(&["--socket", ":1", &argument]).unwrap_err();
        let ConfigError::BadValue { option: named, .. } = error else {
            panic!("{}: {error}", option.name);
        };
        assert_eq!(named, option.name);
    }
}

#[test]
fn defaults_in_the_table_are_the_real_ones() {
    let plain = format!("{:?}", config(&["-s", ":1"]).unwrap());
    for option in options::all() {
        if option.default.is_empty() {
            continue;
        }
        let argument = format!("--{}={}", option.name, option.default);
        let mut given = config(&["-s", ":1", &argument]).unwrap();
        if option.name == "app" {
            // Which application is the default is the business of whoever has them.
            assert_eq!(given.app.take().as_deref(), Some("channels"));
        }
        assert_eq!(format!("{given:?}"), plain, "{}", option.name);
    }
}

#[test]
fn the_api_is_on_loopback_unless_its_address_says_otherwise() {
    let config = config(&[
        "-s",
        ":1",
        "--api",
        ":8080",
        "--api=0.0.0.0:1",
        "--api",
        "/a.sock",
    ]);
    let shown: Vec<String> = config.unwrap().api.iter().map(Address::to_string).collect();
    assert_eq!(shown, ["127.0.0.1:8080", "0.0.0.0:1", "/a.sock"]);
}

#[test]
fn statistics_are_written_where_and_how_it_is_said() {
    let given = config(&[
        "-s",
        ":1",
        "--stats=:1717",
        "--stats-server",
        "/s",
        "--stats-http",
    ]);
    let given = given.unwrap();
    let shown: Vec<String> = given.stats.iter().map(Address::to_string).collect();
    assert_eq!(shown, ["127.0.0.1:1717", "/s"]);
    assert!(given.stats_style.http && !given.stats_style.minified);
    assert!(
        config(&["-s", ":1", "--stats-minified"])
            .unwrap()
            .stats_style
            .minified
    );
}

#[test]
fn a_token_is_never_shown() {
    let given = config(&["-s", ":1", "--api-token", "s3cret"]).unwrap();
    assert!(given.api_token.as_ref().unwrap().matches(b"s3cret"));
    assert!(!format!("{given:?}").contains("s3cret"));
    let error = config(&["-s", ":1", "--api-token", "s3 cret"]).unwrap_err();
    assert!(!error.to_string().contains("s3"), "{error}");
    let error = config(&["-s", ":1", "--api-token-file", "/nowhere"]).unwrap_err();
    assert!(error.to_string().contains("No such file"), "{error}");
}

#[test]
fn uwsgi_says_what_is_not_logged_and_we_what_is() {
    for (arguments, on) in [
        (&[][..], false),
        (&["--log-requests"], true),
        (&["--disable-logging=false"], true),
        (&["--log-requests", "-L"], false),
        (&["--disable-logging", "--log-requests"], false),
    ] {
        let all = [&["-s", ":1"], arguments].concat();
        assert_eq!(config(&all).unwrap().log_requests, on, "{arguments:?}");
    }
    let json = config(&["-s", ":1", "--log-format", "json"]).unwrap();
    assert_eq!(json.log_format, LogFormat::Json);
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let error = config(&["-s", ":1", "--outbox-max", "512"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "--outbox-max 512 is less than --websockets-max-size 1024: an answer as large as its message must fit"
    );
    let grown = config(&["-s", ":1", "--websockets-max-size", "16384"]).unwrap();
    assert_eq!(grown.outbox_bytes_max, 32 << 20);
    assert!(matches!(
        config(&[]),
        Err(ConfigError::Missing {
            option: "socket",
            ..
        })
    ));
}

#[test]
fn an_unknown_option_or_verb_says_what_may_have_been_meant() {
    let message = wrong(&["--proceses", "8"]);
    assert!(
        message.contains("--proceses") && message.contains("'--processes'"),
        "{message}"
    );
    let message = wrong(&["publsh", "news"]);
    assert!(message.contains("'publish'"), "{message}");
    assert!(wrong(&["--socket"]).contains("--socket <ADDRESS>"));
}

#[test]
fn help_names_every_option_and_is_no_error() {
    let Err(Usage::Told(help)) = invoke(&["--help"]) else {
        panic!("help is an error");
    };
    let help = help.to_string();
    for option in options::all() {
        assert!(
            help.contains(&format!("--{}", option.name)),
            "{}",
            option.name
        );
    }
    assert!(matches!(invoke(&["--version"]), Err(Usage::Told(_))));
    assert!(matches!(
        invoke(&["publish", "--help"]),
        Err(Usage::Told(_))
    ));
}

#[test]
fn verbs_are_read() {
    let target = Target {
        instance: None,
        socket: None,
        run_dir: "/tmp/bellwether-1000".into(),
    };
    for (arguments, verb) in [
        (
            &["publish", "news", "hello"][..],
            Verb::Publish {
                channel: "news".into(),
                text: Some("hello".into()),
                binary: false,
            },
        ),
        (
            &["publish", "news", "-", "--binary"],
            Verb::Publish {
                channel: "news".into(),
                text: None,
                binary: true,
            },
        ),
        (
            &["publish", "news", "--", "--binary"],
            Verb::Publish {
                channel: "news".into(),
                text: Some("--binary".into()),
                binary: false,
            },
        ),
        (
            &["tail", "a/b", "--json"],
            Verb::Tail {
                channel: "a/b".into(),
                json: true,
            },
        ),
        (&["status"], Verb::Status { json: false }),
    ] {
        let Ok(Invocation::Verb(read, to)) = invoke(arguments) else {
            panic!("{arguments:?}");
        };
        assert_eq!((read, to), (verb, target.clone()), "{arguments:?}");
    }
}

#[test]
fn a_verb_says_which_server_it_means() {
    let Ok(Invocation::Verb(_, target)) = invoke(&[
        "status",
        "--socket",
        ":3032",
        "--run-dir",
        "/r",
        "--instance",
        "a",
    ]) else {
        panic!("not a verb");
    };
    assert_eq!(target.socket, Some(Address::parse(":3032", true).unwrap()));
    assert_eq!(target.instance.as_deref(), Some("a"));
    assert_eq!(target.run_dir, PathBuf::from("/r"));
    assert!(matches!(
        invoke(&["status", "--instance", "a/b"]),
        Err(Usage::BadValue(ConfigError::BadValue {
            option: "instance",
            ..
        }))
    ));
    assert!(matches!(invoke(&["publish"]), Err(Usage::Wrong(_))));
}

#[test]
fn the_table_is_well_formed() {
    let mut names: Vec<&str> = options::all()
        .flat_map(|option| std::iter::once(&option.name).chain(option.aliases))
        .copied()
        .collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "two options have one name");
    for option in options::all() {
        assert!(
            !option.help.is_empty() && !option.help.ends_with('.'),
            "{}",
            option.name
        );
        assert!(
            option.takes != Takes::Flag || ["false", "true"].contains(&option.default),
            "{}",
            option.name
        );
    }
}

#[test]
fn options_page_on_disk_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/options.md");
    if std::env::var_os("BELLWETHER_WRITE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, options_page()).unwrap();
    }
    let on_disk = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        on_disk == options_page(),
        "docs/options.md is not current: BELLWETHER_WRITE_DOCS=1 cargo test --lib options_page"
    );
}

#[test]
fn every_value_lands_in_its_field() {
    let words = "--socket :1 --listen 77 --drain-timeout 1.5 --drain-spread 0.5 --max-clients 9 --origin https://a.example \
        --handshake-timeout 2 --http-keepalive 0 --buffer-size 4096 --http-headers-max 50 \
        --http-target-max 300 --websockets-ping-freq 7 --websockets-pong-tolerance 4 \
        --websockets-max-fragments 70000 --websockets-deflate-threshold 99 --log-entries 1024 \
        --channels-max 512 --log-level warn --channel a*,slow=gap";
    let words: Vec<&str> = words.split_whitespace().collect();
    let config = config(&words).unwrap();
    assert_eq!(config.listen_backlog, 77);
    assert_eq!(config.drain_timeout_ms, 1500);
    assert_eq!(config.drain_spread_ms, 500);
    assert_eq!(config.clients_max, 9);
    assert_eq!(config.origins, ["https://a.example".parse().unwrap()]);
    assert_eq!(config.handshake_timeout_ms, 2000);
    assert_eq!(config.http_keepalive_ms, 0);
    assert_eq!(config.head_bytes_max, 4096);
    assert_eq!(config.headers_max, 50);
    assert_eq!(config.target_bytes_max, 300);
    assert_eq!(config.ping_freq_ms, 7000);
    assert_eq!(config.pong_tolerance_ms, 4000);
    assert_eq!(config.fragments_max, 70_000);
    assert_eq!(config.deflate.threshold_bytes, 99);
    assert_eq!(config.log_entries, 1024);
    assert_eq!(config.channels_max, 512);
    assert_eq!(config.log_level, Some(log::LevelFilter::Warn));
    assert_eq!(config.channel_rules[0].policy.slow, Slow::Gap);
}

#[test]
fn areas_are_numbered_as_they_are_given() {
    let config = config(&["-s", ":1", "--sharedarea", "2", "-A", "size=9,name=frames"]).unwrap();
    let sizes: Vec<_> = config.areas.iter().map(|area| area.size).collect();
    assert_eq!(sizes, [AreaSize::Pages(2), AreaSize::Bytes(9)]);
    let error = self::config(&["-s", ":1", "--sharedarea", "file=/x"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "--sharedarea \"file=/x\" (command line): allowed is a value that says how large the area is: \
         pages=N or size=BYTES is missing"
    );
}
