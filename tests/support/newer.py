"""A server, and the client tools for it, that say they are of a major version that cannot be had yet."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safeharbor_backup.postgres.private_cluster import PrivateServer, find_server_bins

_VERSION = re.compile(rb"(server_version\0)1[0-9](\.[0-9]+)")


@contextmanager
def newer_server(server: PrivateServer, major: int) -> Iterator[int]:
    """A port at which this server answers, and tells each session that it is of that major."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return  # closed
                real = socket.create_connection(("127.0.0.1", server.port))
                threading.Thread(target=_pump, args=(client, real, 0), daemon=True).start()
                threading.Thread(target=_pump, args=(real, client, major), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def _pump(source: socket.socket, sink: socket.socket, major: int) -> None:
    with source, sink:
        try:
            while data := source.recv(65536):
                sink.sendall(_VERSION.sub(rb"\g<1>%d\g<2>" % major, data) if major else data)
        except OSError:
            pass  # one of them is gone, and so the other is to go
        for each in (source, sink):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def newer_tools(place: Path, server: PrivateServer, port: int, major: int) -> Path:
    """A directory with client tools of that major; they go to the server itself, which they would refuse otherwise."""
    place.mkdir()
    for name in ("pg_dump", "pg_restore", "psql"):
        script = place / name
        script.write_text(
            f'#!/bin/sh\nif [ "$1" = --version ]; then echo "{name} (PostgreSQL) {major}.0"; exit 0; fi\n'
            f'for each; do shift; set -- "$@" "$(printf %s "$each" | sed "s/{port}/{server.port}/")"; done\n'
            f'if [ "$PGPORT" = {port} ]; then PGPORT={server.port}; export PGPORT; fi\n'
            f'exec {find_server_bins()[server.major] / name} "$@"\n'
        )
        script.chmod(0o755)
    return place
