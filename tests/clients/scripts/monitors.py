"""What others wrote to watch servers reads what we write. Ends with 0 if all went well.

python monitors.py metrics URL CHANNEL MESSAGES: the Prometheus client parses the metrics of the API.
python monitors.py top ADDRESS PID..: uwsgitop shows these workers, in a terminal of our own.
"""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
import urllib.request

DEADLINE_SECONDS = 60


def metrics(url, channel, messages):
    from prometheus_client.parser import text_string_to_metric_families

    with urllib.request.urlopen(url, timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = answer.read().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert all(name.startswith("bellwether_") for name in families), families.keys()
    assert all(family.documentation for family in families.values())
    assert {family.type for family in families.values()} == {"counter", "gauge"}
    assert families["bellwether_published"].type == "counter"
    assert families["bellwether_published"].samples[0].value == messages
    clients = families["bellwether_worker_clients"].samples
    assert {sample.labels["worker"] for sample in clients} == {"1", "2"}
    assert families["bellwether_build_info"].samples[0].labels["version"]
    (of_channel,) = families["bellwether_channel_messages"].samples
    assert of_channel.labels == {"channel": channel}, of_channel
    assert of_channel.value == messages


def top(address, pids):
    pid, terminal = pty.fork()
    if pid == 0:
        program = os.path.join(os.path.dirname(sys.executable), "uwsgitop")
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, program, address])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 250, 0, 0))
    end = time.monotonic() + DEADLINE_SECONDS
    shown = ""
    while not (("WID" in shown) and all(wanted in shown for wanted in pids)):
        assert time.monotonic() < end, f"not shown: {pids} in {shown!r}"
        if select.select([terminal], [], [], 1)[0]:
            shown += read(terminal)
    os.write(terminal, b"q")
    while read(terminal):
        assert time.monotonic() < end, "uwsgitop does not end"
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, shown


def read(terminal):
    try:
        return os.read(terminal, 65536).decode(errors="replace")
    except OSError:
        return ""


signal.alarm(2 * DEADLINE_SECONDS)
if sys.argv[1] == "metrics":
    metrics(sys.argv[2], sys.argv[3], int(sys.argv[4]))
else:
    top(sys.argv[2], sys.argv[3:])
