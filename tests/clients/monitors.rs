//! Programs that others wrote to watch servers: the Prometheus client's parser, and uwsgitop.

use std::process::Command;
use std::time::Duration;

use crate::MASTER;
use crate::foreign::{PYTHON, named_by, run, script};
use crate::server::{Server, wait_for};

const PATIENCE: Duration = Duration::from_secs(30);

/// What follows this text on the first line of the log that has it.
fn named_in_log(server: &Server, text: &str) -> String {
    wait_for(text, PATIENCE, || {
        let log = server.log();
        let line = log.lines().find_map(|line| line.split_once(text));
        line.map(|(_, rest)| rest.trim().to_owned())
    })
}

#[test]
fn the_prometheus_client_parses_our_metrics() {
    let Some(python) = named_by(PYTHON) else {
        return;
    };
    let server = Server::start(MASTER, &["--processes", "2", "--api", ":0"]);
    let channel = r#"a "quoted" \ name"#;
    for text in ["one", "two"] {
        server.publish(channel, text);
    }
    let api = named_in_log(&server, "the API is at ");
    run(Command::new(python).arg(script("monitors.py")).args([
        "metrics",
        &format!("http://{api}/metrics"),
        channel,
        "2",
    ]));
}

#[test]
fn uwsgitop_shows_our_workers() {
    let Some(python) = named_by(PYTHON) else {
        return;
    };
    for (option, scheme) in [(&[][..], ""), (&["--stats-http"], "http://")] {
        let options = [&["--processes", "2", "--stats", ":0"], option].concat();
        let server = Server::start(MASTER, &options);
        let address = named_in_log(&server, "statistics are at ");
        let status = server.verb(&["status", "--json"]).output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        let workers = status["workers"].as_array().unwrap();
        let pids = workers.iter().map(|worker| worker["pid"].to_string());
        run(Command::new(&python)
            .arg(script("monitors.py"))
            .args(["top", &format!("{scheme}{address}")])
            .args(pids));
    }
}
