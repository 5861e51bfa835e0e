"""Python's websockets against an echo server: python matrix.py ws://HOST:PORT/PATH. Ends with 0 if all went well."""

import os
import sys
import threading

from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.sync.client import connect

DEADLINE_SECONDS = 120
LARGE_BYTES = 16 * 1024 * 1024
URL = sys.argv[1]


def open_client(compression, **options):
    return connect(URL, compression=compression, max_size=None, open_timeout=20, close_timeout=20, **options)


def echoes(client, message):
    client.send(message)
    answer = client.recv(timeout=60)
    assert type(answer) is type(message), f"sent {type(message)}, got {type(answer)}"
    assert answer == message, f"{len(message)} came back as {len(answer)} others"


def messages(compression):
    with open_client(compression) as client:
        offered = [extension.name for extension in client.protocol.extensions]
        assert offered == (["permessage-deflate"] if compression else []), offered
        for message in ["hello", "", b"", b"\x00\xff\x80", "grüße, 🔔", "a" * 70_000, os.urandom(70_000)]:
            echoes(client, message)
        for number in range(1000):
            echoes(client, f"message {number} of a thousand, and some more of it to be worth deflating" * 3)


def fragments(compression):
    with open_client(compression) as client:
        client.send(["one ", "two ", "", "three"])
        assert client.recv(timeout=20) == "one two three"
        client.send([b"\x01", b"\x02" * 1000, b"\x03"])
        assert client.recv(timeout=20) == b"\x01" + b"\x02" * 1000 + b"\x03"
        # A character that is cut in two by a fragment's end is whole again in the message.
        bell = "🔔".encode()
        client.send((part for part in [bell[:2], bell[2:]]), text=True)
        assert client.recv(timeout=20) == "🔔"


def two_clients_with_interleaved_fragments(compression):
    with open_client(compression) as first, open_client(compression) as second:
        turn = threading.Barrier(2)

        def parts(name):
            for number in range(5):
                turn.wait(20)
                yield f"{name}{number} "

        sender = threading.Thread(target=lambda: second.send(parts("b")))
        sender.start()
        first.send(parts("a"))
        sender.join(20)
        assert first.recv(timeout=20) == "a0 a1 a2 a3 a4 "
        assert second.recv(timeout=20) == "b0 b1 b2 b3 b4 "


def ping(compression):
    with open_client(compression) as client:
        # The library compares the payload of the pong with that of the ping.
        for payload in ["", "are you there?", "x" * 125]:
            assert client.ping(payload).wait(20), f"no pong for {payload!r}"


def large(compression):
    with open_client(compression) as client:
        echoes(client, "t" * LARGE_BYTES)
        echoes(client, os.urandom(1024) * (LARGE_BYTES // 1024))


def close_codes(compression):
    for code, reason in [(1000, ""), (1000, "done"), (4001, "my own"), (3000, "r" * 123)]:
        with open_client(compression) as client:
            client.close(code, reason)
            got = client.protocol.close_rcvd
        assert got is not None and got.code == code, f"closed with {code}, answered with {got}"


def subprotocol(compression):
    with open_client(compression, subprotocols=["chat", "superchat"]) as client:
        assert client.subprotocol in (None, "chat", "superchat"), client.subprotocol
    with open_client(compression) as client:
        assert client.subprotocol is None, client.subprotocol


def bad_text(compression):
    with open_client(compression) as client:
        client.send(b"\xc3\x28 is no UTF-8", text=True)
        try:
            client.recv(timeout=20)
            raise AssertionError("invalid text came back")
        except ConnectionClosed as closed:
            assert closed.rcvd is not None and closed.rcvd.code == CloseCode.INVALID_DATA, closed


def main():
    alarm = threading.Timer(DEADLINE_SECONDS, lambda: (print("deadline", file=sys.stderr), os._exit(3)))
    alarm.daemon = True
    alarm.start()
    steps = [messages, fragments, two_clients_with_interleaved_fragments, ping, large, close_codes, subprotocol, bad_text]
    for compression in [None, "deflate"]:
        for step in steps:
            try:
                step(compression)
            except BaseException as error:
                raise SystemExit(f"{step.__name__}, compression {compression}: {type(error).__name__}: {error}")
            print(f"ok {step.__name__}, compression {compression}", flush=True)


main()
