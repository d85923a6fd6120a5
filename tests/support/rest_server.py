"""A REST server for restic's repositories, on the loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.needs import need_program


@contextmanager
def serving_restic(place: Path, *options: str) -> Iterator[str]:
    """A server over the directory `place`; yields the address of one repository."""
    need_program("rclone")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = ["rclone", "serve", "restic", "--addr", f"127.0.0.1:{port}", *options, str(place)]
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(argv, stdout=quiet, stderr=quiet, env={**os.environ, "RCLONE_CONFIG": "/dev/null"})
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield f"rest:http://127.0.0.1:{port}/reef"
    finally:
        server.terminate()
        server.wait()
