"""A real connection pooler before a server."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from safeharbor_backup.postgres.private_cluster import PrivateServer
from support.needs import need_program
from support.postgres import PASSWORD
from support.receivers import free_port

NOBODY = 65534
_TRIES = 5


@contextmanager
def pooled(server: PrivateServer, root: Path) -> Iterator[int]:
    """A real PgBouncer in transaction mode before the server; its port."""
    program = need_program("pgbouncer")
    password = PASSWORD.replace('"', '""')
    names = [str(row[0]) for row in server.execute("SELECT rolname FROM pg_roles WHERE rolcanlogin")]
    (root / "users.txt").write_text("".join(f'"{name}" "{password}"\n' for name in names))
    argv: list[str | Path] = [program, "-q", root / "pgbouncer.ini"]
    if os.geteuid() == 0:  # which it refuses to run as
        for path in (root, *root.parents):
            if not os.stat(path).st_mode & 0o001 and path != Path("/"):
                os.chmod(path, 0o755)
        argv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *argv]
    for _ in range(_TRIES):
        port = free_port()
        (root / "pgbouncer.ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port}\nauth_type = plain\nauth_file = {root}/users.txt\npool_mode = transaction\n"
            "ignore_startup_parameters = extra_float_digits,options\nunix_socket_dir =\n"
        )
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as bouncer:
            try:
                if _listens(bouncer, port):
                    yield port
                    return
            finally:
                bouncer.terminate()
    raise AssertionError(f"PgBouncer did not start in {_TRIES} tries")


def _listens(bouncer: subprocess.Popen[bytes], port: int) -> bool:
    """Whether it has begun to listen; False if it has ended, since another process took the port first."""
    while bouncer.poll() is None:
        try:
            psycopg.connect(host="127.0.0.1", port=port, dbname="x", user="x", connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if "refused" not in str(error):
                return bouncer.poll() is None
        time.sleep(0.05)
    return False
