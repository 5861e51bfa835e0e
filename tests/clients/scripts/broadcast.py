"""Python's websockets listens, with and without compression: python broadcast.py ws://HOST:PORT/CHANNEL.

Says "connected" once it listens, publishes a message of its own when the last of three others has come, and ends with 0 if all
clients got the same, compressed where that was agreed and worth it.
"""

import contextlib
import os
import sys
import threading

from websockets.sync.client import connect

DEADLINE_SECONDS = 60
URL = sys.argv[1]
LONG = "long enough to be worth it " * 20
OWN = "published by a client that compresses " * 20


class Listener:
    """A client that notes which frames of messages were compressed (RSV1)."""

    def __init__(self, compression, stack):
        self.compressed = []
        self.client = stack.enter_context(connect(URL, compression=compression, open_timeout=20, close_timeout=20))
        for extension in self.client.protocol.extensions:
            extension.decode = self.noting(extension.decode)

    def noting(self, decode):
        def decode_and_note(frame, **options):
            self.compressed.append(frame.rsv1)
            return decode(frame, **options)

        return decode_and_note


def main(stack):
    alarm = threading.Timer(DEADLINE_SECONDS, lambda: (print("deadline", file=sys.stderr), os._exit(3)))
    alarm.daemon = True
    alarm.start()
    plain = [Listener(None, stack) for _ in range(3)]
    deflating = [Listener("deflate", stack) for _ in range(3)]
    print("connected", flush=True)
    for number, message in enumerate(["short", LONG, LONG[:100], OWN]):
        if number == 3:
            deflating[0].client.send(OWN)
        for listener in plain + deflating:
            got = listener.client.recv(timeout=20)
            assert got == message, f"{len(got)} bytes instead of {len(message)}: {got[:50]!r}"
    for listener in plain:
        assert listener.compressed == [], listener.compressed
    for listener in deflating:
        assert listener.compressed == [False, True, False, True], listener.compressed


with contextlib.ExitStack() as clients:
    main(clients)
