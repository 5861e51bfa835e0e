"""Runs Autobahn's fuzzing client against a server and compares its verdicts to expected.json.

    python3 tests/autobahn/run.py SELECTION WSTEST OUTPUT [--url URL | -- SERVER ARGUMENT...]

SELECTION is a name in selections.json, WSTEST the program of the testsuite, OUTPUT a folder for
reports and logs. With a server command it is started here, must name its port on stderr as
`listening on 127.0.0.1:PORT`, and is stopped at the end; with --url a running one is used.
Ends with 0 when no verdict is worse than expected. Needs nothing but the standard library.
"""

import argparse
import contextlib
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import verdicts

HERE = pathlib.Path(__file__).parent
AGENT = "bellwether"
WSTEST_PROCESSES = 2
START_DEADLINE_S = 20
STOP_DEADLINE_S = 30
# Generous: Autobahn itself is the slow part, and a busy machine must not fail a good server.
CASE_DEADLINE_S = 8
RUN_DEADLINE_S_MIN = 300


class Fault(Exception):
    """The run itself went wrong; the text says what to look at."""


class Server:
    """The server under test. Started here, and only what was started here is ended."""

    def __init__(self, command, log):
        self.log = log
        self.port = None
        self.listening = threading.Event()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.reader = threading.Thread(target=self._read_log, daemon=True)
        self.reader.start()
        if not self.listening.wait(START_DEADLINE_S) or self.port is None:
            self.process.kill()
            raise Fault(f"the server named no port (it had {START_DEADLINE_S} s); see {log}")

    def _read_log(self):
        with open(self.log, "wb") as copy:
            for line in self.process.stderr:
                copy.write(line)
                copy.flush()
                found = re.search(rb"listening on 127\.0\.0\.1:(\d+)", line)
                if found and self.port is None:
                    self.port = int(found.group(1))
                    self.listening.set()
        self.listening.set()

    def is_alive(self):
        return self.process.poll() is None

    def stop(self):
        """Asks it to drain; a server that died or does not drain is a fault."""
        if not self.is_alive():
            raise Fault(f"the server ended by itself with {self.process.returncode}; see {self.log}")
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Fault(f"the server did not drain in {STOP_DEADLINE_S} s; see {self.log}") from None
        if code != 0:
            raise Fault(f"the server drained with exit code {code}; see {self.log}")


def fuzz(wstest, url, shards, output, is_alive):
    """Runs one wstest process for each shard and gives back their indices."""
    running = []
    for number, cases in enumerate(shards):
        reports = output / f"reports-{number}"
        spec = output / f"spec-{number}.json"
        servers = [{"agent": AGENT, "url": url}]
        spec.write_text(json.dumps({
            "outdir": str(reports), "servers": servers, "cases": cases,
            "exclude-cases": [], "exclude-agent-cases": {},
        }))
        with open(output / f"wstest-{number}.log", "wb") as log:
            command = [wstest, "-m", "fuzzingclient", "-s", str(spec)]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        running.append((process, reports))
    wait_for([process for process, _ in running], sum(map(len, shards)), is_alive)
    indices = [reports / "index.json" for _, reports in running]
    return [json.loads(index.read_text()) for index in indices if index.exists()]


def wait_for(processes, cases, is_alive):
    """Waits for all; ends them when the server is gone or the time is up."""
    deadline = time.monotonic() + max(RUN_DEADLINE_S_MIN, cases * CASE_DEADLINE_S)
    while any(process.poll() is None for process in processes):
        if time.monotonic() > deadline or not is_alive():
            for process in processes:
                process.kill()
        time.sleep(0.1)


def report(found, expected, output):
    """Prints the table and every difference; true when nothing is worse than expected."""
    print(verdicts.table(found), flush=True)
    for case, now, before in verdicts.better(found, expected):
        print(f"better: case {case} is {now}, expected.json says {before}; raise it there")
    faults = verdicts.faults_of(expected)
    for case, now, before in verdicts.worse(found, expected):
        name = f"{AGENT}_case_{case.replace('.', '_')}.json"
        where = next((path for path in output.glob("reports-*/*") if path.name == name), output)
        faults.append(f"case {case} is {now}, expected {before}; see {where}")
    for fault in faults:
        print(f"FAILED: {fault}")
    return not faults


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("selection")
    arguments.add_argument("wstest")
    arguments.add_argument("output", type=pathlib.Path)
    arguments.add_argument("--url")
    arguments.add_argument("server", nargs="*")
    given = arguments.parse_args()
    expected = json.loads((HERE / "expected.json").read_text())
    selections = json.loads((HERE / "selections.json").read_text())
    if given.selection not in selections:
        arguments.error(f"no selection {given.selection}; there are {', '.join(selections)}")
    if bool(given.url) == bool(given.server):
        arguments.error("give either --url or a server command")
    cases = verdicts.select(selections[given.selection], expected)
    shutil.rmtree(given.output, ignore_errors=True)
    given.output.mkdir(parents=True)
    started = time.monotonic()
    server = Server(given.server, given.output / "server.log") if given.server else None
    with contextlib.ExitStack() as stack:
        if server:
            stack.callback(lambda: server.is_alive() and server.process.kill())
        url = given.url or f"ws://127.0.0.1:{server.port}"
        is_alive = server.is_alive if server else lambda: True
        shards = verdicts.shard(cases, WSTEST_PROCESSES)
        indices = fuzz(given.wstest, url, shards, given.output.resolve(), is_alive)
        found = verdicts.merge(indices, cases)
        good = report(found, expected, given.output)
        if server:
            server.stop()
    bad = len(verdicts.worse(found, expected))
    print(f"{len(cases)} cases of selection {given.selection} in {time.monotonic() - started:.0f} s")
    print(f"autobahn: {len(cases) - bad} passed, {bad} failed")
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Fault as fault:
        sys.exit(f"FAILED: {fault}")
