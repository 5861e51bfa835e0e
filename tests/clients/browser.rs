//! Chromium opens the console page, the command line publishes, the page shows it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::MASTER;
use crate::foreign::{CHROMIUM, NODE_MODULES, named_by, script};
use crate::server::Server;

struct Page(Child);

impl Page {
    fn open(server: &Server, screenshot: &str, publishing: &str) -> Option<Self> {
        let (chromium, modules) = (named_by(CHROMIUM)?, named_by(NODE_MODULES)?);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        fs::create_dir_all(folder).expect("the folder for screenshots");
        let child = Command::new("node")
            .arg(script("console.cjs"))
            .arg(format!("http://{}/", server.address()))
            .arg(folder.join(screenshot))
            .arg(publishing)
            .env("NODE_PATH", modules)
            .env(CHROMIUM, chromium)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("node is on the path");
        Some(Self(child))
    }

    /// Reads on until the script says this word; it keeps its own deadline, so this ends.
    fn wait_for(&mut self, out: &mut impl BufRead, word: &str) {
        let mut line = String::new();
        while out.read_line(&mut line).expect("the script's output") > 0 {
            if line.trim() == word {
                return;
            }
            line.clear();
        }
        let mut said = String::new();
        if let Some(pipe) = &mut self.0.stderr {
            pipe.read_to_string(&mut said)
                .expect("the script's complaint");
        }
        panic!("the page never was {word}: {said}");
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _already_gone = self.0.kill();
        }
        let _status = self.0.wait();
    }
}

fn page_shows_what_is_published(options: &[&str], screenshot: &str, publishing: &str) {
    let server = Server::start(MASTER, &[&["--processes", "2"], options].concat());
    let Some(mut page) = Page::open(&server, screenshot, publishing) else {
        return;
    };
    let mut out = BufReader::new(page.0.stdout.take().expect("stdout is a pipe"));
    page.wait_for(&mut out, "connected");
    server.publish("news", "hello");
    server.publish("news", "<b>not bold</b>");
    page.wait_for(&mut out, "shown");
    page.wait_for(&mut out, "done");
    assert!(page.0.wait().expect("our own child").success());
}

#[test]
fn the_console_page_shows_what_the_command_line_publishes() {
    page_shows_what_is_published(&[], "console.png", "off");
}

#[test]
fn the_console_page_publishes_where_clients_may() {
    page_shows_what_is_published(&["--clients-publish"], "console-publishing.png", "on");
}
