//! What `scripts/bench` measures: the cases, who takes part in each, and what Bellwether has to reach.

mod streams;

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::server::{Machine, Program, Ready, beside};
use crate::table::{Goal, Note};
use crate::{Failure, process};

/// One line of work for every contestant.
#[derive(Debug)]
pub struct Case {
    /// What it is, with the unit of the figure.
    pub title: String,
    /// The program that makes the load and measures.
    pub generator: &'static str,
    /// Mode and numbers for it.
    pub load: Vec<String>,
    /// The figure of the report that is shown.
    pub figure: &'static str,
    /// What the figure is divided by.
    pub scale: f64,
    /// Those that take part; the first is the base of the ratios.
    pub contestants: Vec<Contestant>,
    /// The server may use every core, not only its own.
    pub all_cores: bool,
    /// Further figures that are shown below each row.
    pub notes: Vec<Note>,
    /// Rounds at most; those of a long run say enough.
    pub rounds_max: usize,
    /// What a run takes beyond the usual times.
    pub extra: Duration,
}

/// One that takes part and what it should reach.
#[derive(Debug, Clone)]
pub struct Contestant {
    /// Its name in the table.
    pub name: String,
    /// The server; none: the generator does the work alone, on all cores.
    pub server: Option<Program>,
    /// What the generator is told for this one besides.
    pub load: Vec<String>,
    /// Its goal.
    pub goal: Option<Goal>,
}

impl Contestant {
    fn new(program: Program, goal: Option<Goal>) -> Self {
        Self {
            name: program.name.clone(),
            server: Some(program),
            load: Vec::new(),
            goal,
        }
    }
}

/// Servers that may take part besides Bellwether and the bare peers.
#[derive(Debug)]
pub struct Peers {
    bun: Option<PathBuf>,
    nginx: Option<(PathBuf, PathBuf)>,
}

impl Peers {
    /// Looks for Bun (on the path, or in the folder of node modules `BELLWETHER_TEST_NODE_MODULES`) and nginx with nchan.
    pub fn find() -> Self {
        let in_modules = std::env::var_os("BELLWETHER_TEST_NODE_MODULES")
            .map(|modules| Path::new(&modules).join("@oven/bun-linux-x64/bin/bun"));
        let bun = if process::on_path("bun") {
            Some("bun".into())
        } else {
            in_modules.filter(|path| path.is_file())
        };
        let module = PathBuf::from("/usr/lib/nginx/modules/ngx_nchan_module.so");
        // Debian keeps it where only root looks.
        let program =
            ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"].map(PathBuf::from);
        let nginx = program
            .into_iter()
            .find(|path| path.is_file())
            .filter(|_| module.is_file());
        Self {
            bun,
            nginx: nginx.map(|program| (program, module)),
        }
    }

    /// None of them.
    pub fn none() -> Self {
        Self {
            bun: None,
            nginx: None,
        }
    }

    fn bun(&self, machine: &Machine, app: &str) -> Result<Option<Contestant>, Failure> {
        let Some(bun) = &self.bun else {
            return Ok(None);
        };
        let script = machine.folder.join("bun.js");
        fs::write(&script, include_str!("../../peers/bun.js"))?;
        let command = vec![
            bun.display().to_string(),
            script.display().to_string(),
            app.into(),
        ];
        let program = Program {
            name: "bun".into(),
            command,
            ready: Ready::Says(""),
            path: Some("/bench".into()),
            post: None,
        };
        Ok(Some(Contestant::new(program, None)))
    }

    fn nchan(&self, machine: &Machine) -> Result<Option<Contestant>, Failure> {
        let Some((program, module)) = &self.nginx else {
            return Ok(None);
        };
        // It cannot choose a port by itself, so one that is free now has to do.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let folder = fs::canonicalize(&machine.folder)?;
        let text = include_str!("../../peers/nchan.conf")
            .replace("MODULE", &module.display().to_string())
            .replace("FOLDER", &folder.display().to_string())
            .replace("ADDRESS", &address.to_string());
        let file = folder.join(format!("nchan-{port}.conf"));
        fs::write(&file, text)?;
        let words = [
            program.as_path(),
            Path::new("-p"),
            &folder,
            Path::new("-c"),
            &file,
        ];
        let program = Program {
            name: "nginx + nchan".into(),
            command: words
                .iter()
                .map(|word| word.display().to_string())
                .collect(),
            ready: Ready::Answers(address),
            path: Some("/listen".into()),
            post: Some("/publish".into()),
        };
        Ok(Some(Contestant::new(program, None)))
    }
}

fn bare(name: &str) -> Result<Contestant, Failure> {
    let command = vec![beside(name)?.display().to_string()];
    let program = Program {
        name: name.into(),
        command,
        ready: Ready::Says(""),
        path: None,
        post: None,
    };
    Ok(Contestant::new(program, None))
}

fn bellwether(
    machine: &Machine,
    name: &str,
    options: &str,
    goal: Option<Goal>,
) -> Result<Contestant, Failure> {
    served_by("master", machine, name, options, goal)
}

/// A program with the command line of `master`.
fn served_by(
    server: &str,
    machine: &Machine,
    name: &str,
    options: &str,
    goal: Option<Goal>,
) -> Result<Contestant, Failure> {
    let mut command = vec![beside(server)?.display().to_string()];
    command.extend(["--socket", "127.0.0.1:0", "--run-dir", &run_dir(machine)].map(str::to_owned));
    command.extend(words(options));
    let program = Program {
        name: name.into(),
        command,
        ready: Ready::Says("ready:"),
        path: Some("/bench".into()),
        post: None,
    };
    Ok(Contestant::new(program, goal))
}

/// The run directory of the servers, one of which runs at a time.
fn run_dir(machine: &Machine) -> String {
    machine.folder.join("run").display().to_string()
}

const ECHO: &str = "--processes 1 --app echo";
const FAN: &str = "--processes 1 --clients-publish";
const FAN_TWO: &str = "--processes 2 --clients-publish";

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn case(
    title: &str,
    load: &str,
    figure: &'static str,
    scale: f64,
    contestants: Vec<Contestant>,
) -> Case {
    let load = words(load);
    Case {
        title: title.into(),
        generator: "load",
        load,
        figure,
        scale,
        contestants,
        all_cores: false,
        notes: Vec::new(),
        rounds_max: usize::MAX,
        extra: Duration::ZERO,
    }
}

/// Everything that is measured, in the order of the table; clients that stop reading do so for `stall`.
///
/// # Errors
/// A program has not been built.
pub fn all(machine: &Machine, peers: &Peers, stall: Duration) -> Result<Vec<Case>, Failure> {
    let mut cases = echo(machine, peers)?;
    cases.extend(fan(machine, peers)?);
    cases.push(two_workers(machine)?);
    cases.extend(streams::beside_nchan(machine, peers)?);
    cases.push(streams::fast(machine)?);
    cases.push(streams::stalled(machine, stall)?);
    cases.push(streams::area(machine)?);
    cases.push(streams::crowd(machine)?);
    cases.push(streams::log());
    Ok(cases)
}

fn echo(machine: &Machine, peers: &Peers) -> Result<Vec<Case>, Failure> {
    let contestants = |goal: Option<Goal>| -> Result<Vec<Contestant>, Failure> {
        let ours = bellwether(machine, "bellwether", ECHO, goal)?;
        Ok([bare("bare-echo")?, ours]
            .into_iter()
            .chain(peers.bun(machine, "echo")?)
            .collect())
    };
    let mut cases = Vec::new();
    for (title, load, most) in [
        (
            "echo, 64 clients x 1, 64 B: CPU us/message",
            "echo --connections 64",
            1.15,
        ),
        (
            "echo, 64 clients x 16, 64 B: CPU us/message",
            "echo --connections 64 --in-flight 16",
            1.4,
        ),
        (
            "echo, 1000 clients x 1, 64 B: CPU us/message",
            "echo --connections 1000",
            1.2,
        ),
        (
            "echo, 64 clients x 1, 16 KiB: CPU us/message",
            "echo --connections 64 --bytes 16384",
            1.2,
        ),
    ] {
        cases.push(case(
            title,
            load,
            "cpu_ns_per_message",
            1e3,
            contestants(Some(Goal::Ratio(most)))?,
        ));
    }
    if process::on_path("strace") {
        for (title, in_flight, most) in [
            ("system calls/message, 64 clients x 1", 1, 2.1),
            ("system calls/message, 64 clients x 16", 16, 0.15),
        ] {
            let load = format!("echo --trace --connections 64 --in-flight {in_flight}");
            cases.push(case(
                title,
                &load,
                "system_calls_per_message",
                1.0,
                contestants(Some(Goal::Value(most)))?,
            ));
        }
    }
    let idle = contestants(Some(Goal::Value(400.0)))?;
    cases.push(case(
        "idle, 10000 clients: bytes PSS/client",
        "idle --connections 10000",
        "pss_per_connection",
        1.0,
        idle,
    ));
    let handshake: Vec<_> = contestants(None)?.into_iter().skip(1).collect();
    cases.push(case(
        "handshakes, 32 at once: CPU us",
        "handshake --connections 32",
        "cpu_ns_per_message",
        1e3,
        handshake,
    ));
    Ok(cases)
}

fn fan(machine: &Machine, peers: &Peers) -> Result<Vec<Case>, Failure> {
    let mut cases = Vec::new();
    for (clients, window, most) in [
        (1000, 1, 1.1),
        (10_000, 1, 1.1),
        (1000, 8, 0.3),
        (10_000, 8, 0.3),
    ] {
        let title = format!("fan-out to {clients}, {window} waiting, 128 B: CPU us/delivery");
        let load = format!("fan --bytes 128 --connections {clients} --window {window}");
        let ours = bellwether(machine, "bellwether", FAN, Some(Goal::Ratio(most)))?;
        let others = peers
            .bun(machine, "fan")?
            .into_iter()
            .chain(peers.nchan(machine)?);
        let contestants = [bare("bare-fan")?, ours]
            .into_iter()
            .chain(others)
            .collect();
        cases.push(case(&title, &load, "cpu_ns_per_message", 1e3, contestants));
    }
    Ok(cases)
}

/// Both take every core beside the generator, and nobody may lag, so that both do the same sends.
fn two_workers(machine: &Machine) -> Result<Case, Failure> {
    let one = bellwether(machine, "bellwether 1 worker", FAN, None)?;
    let two = bellwether(
        machine,
        "bellwether 2 workers",
        FAN_TWO,
        Some(Goal::Ratio(1.15)),
    )?;
    let load = "fan --bytes 128 --connections 1000 --pace all";
    let mut case = case(
        "fan-out to 1000 by workers: CPU us/delivery",
        load,
        "cpu_ns_per_message",
        1e3,
        vec![one, two],
    );
    case.all_cores = true;
    Ok(case)
}
