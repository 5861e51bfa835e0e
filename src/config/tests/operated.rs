//! Options of supervision and of the place in the system, and the file that may say them.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{config, environment};
use crate::config::{Address, Invocation, Orphans, parse, read_files, resolve};

#[test]
fn what_is_operated_lands_in_its_field_too() {
    let words = "--socket :1 --check --settle 0.5 --worker-reload-mercy 90 --harakiri 7 --max-worker-lifetime 60 --reload-on-rss 512 \
        --cpu-affinity 1 --orphans exit --master-fifo /run/f --touch-reload /run/t --pidfile /run/p \
        --daemonize /run/d --logto /run/l --vacuum --uid www-data --gid adm --chdir / --umask 027 --master --die-on-term";
    let words: Vec<&str> = words.split_whitespace().collect();
    let operations = config(&words).unwrap().operations;
    let path = |text: &str| Some(PathBuf::from(text));
    assert!(operations.check && operations.vacuum);
    assert_eq!(operations.settle_ms, 500);
    assert_eq!(operations.worker_reload_mercy_ms, 90_000);
    assert_eq!(operations.harakiri_ms, 7000);
    assert_eq!(operations.worker_lifetime_ms, 60_000);
    assert_eq!(operations.reload_on_rss_bytes, 512 << 20);
    assert_eq!(operations.cpu_affinity, 1);
    assert_eq!(operations.orphans, Orphans::Exit);
    assert_eq!(operations.master_fifo, path("/run/f"));
    assert_eq!(operations.touch_reload, [PathBuf::from("/run/t")]);
    assert_eq!(operations.pidfile, path("/run/p"));
    assert_eq!(
        (operations.daemonize, operations.logto),
        (path("/run/d"), path("/run/l"))
    );
    assert_eq!(
        (operations.uid.as_deref(), operations.gid.as_deref()),
        (Some("www-data"), Some("adm"))
    );
    assert_eq!(
        (operations.chdir, operations.umask),
        (path("/"), Some(0o27))
    );
}

#[test]
fn there_always_is_a_master() {
    for words in [&["-s", ":1", "-M"][..], &["-s", ":1", "--master=true"]] {
        config(words).unwrap();
    }
    let error = config(&["-s", ":1", "--master=false"]).unwrap_err();
    assert!(
        error.to_string().contains("there always is a master"),
        "{error}"
    );
}

#[test]
fn relative_paths_begin_in_the_folder_of_chdir_or_where_the_server_was_started() {
    let words = "--socket ./a --api ./b --stats ./c --pidfile p --master-fifo f --touch-reload t --run-dir r \
        --logto l --daemonize d";
    let words: Vec<&str> = words.split_whitespace().collect();
    for (chdir, folder) in [
        (None, "/srv"),
        (Some("app"), "/srv/app"),
        (Some("/x"), "/x"),
    ] {
        let chdir = chdir.map(|chdir| ["--chdir", chdir]);
        let words = [&words[..], chdir.as_ref().map_or(&[], |chdir| &chdir[..])].concat();
        let config = config(&words).unwrap();
        let there = |name: &str| PathBuf::from(folder).join(name);
        assert_eq!(config.sockets, [Address::Unix(there("a"))]);
        assert_eq!(config.api, [Address::Unix(there("b"))]);
        assert_eq!(config.stats, [Address::Unix(there("c"))]);
        assert_eq!(config.run_dir, there("r"));
        let operations = config.operations;
        assert_eq!(operations.pidfile, Some(there("p")));
        assert_eq!(operations.master_fifo, Some(there("f")));
        assert_eq!(operations.touch_reload, [there("t")]);
        let logs = (operations.logto, operations.daemonize);
        assert_eq!(logs, (Some("/srv/l".into()), Some("/srv/d".into())));
    }
}

#[test]
fn a_file_says_what_the_command_line_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.ini");
    let text = "[uwsgi]\n; a comment\nmaster = true\nsocket = :7\nprocesses = 3\n";
    std::fs::write(&file, text).unwrap();
    let words = ["--ini", file.to_str().unwrap(), "--processes", "2"];
    let environment = environment();
    let words = std::iter::once("master").chain(words).map(OsString::from);
    let Ok(Invocation::Serve(settings)) = parse(words, &environment) else {
        panic!("these words are right");
    };
    let settings = read_files(settings, &environment).unwrap();
    let config = resolve(&settings, &environment).unwrap();
    assert_eq!(config.sockets.len(), 1);
    assert_eq!(config.processes, 2, "the command line goes over the file");
    std::fs::write(&file, "[uwsgi]\nproceses = 3\n").unwrap();
    let words = ["master", "--ini", file.to_str().unwrap()].map(OsString::from);
    let Ok(Invocation::Serve(settings)) = parse(words, &environment) else {
        panic!("these words are right");
    };
    let error = read_files(settings, &environment).unwrap_err().to_string();
    assert!(
        error.contains("proceses") && error.contains("processes") && error.contains('2'),
        "{error}"
    );
}
