"""The private server: starts, answers, dies with its parent, leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from safeharbor.errors import ToolFailed
from safeharbor.postgres.server import find_server_bins, private_server
from support.needs import missing
from support.postgres import MAJORS, execute


@pytest.mark.parametrize("major", MAJORS)
def test_a_private_server_answers_and_leaves_nothing_behind(major: int) -> None:
    bins = find_server_bins()
    if major not in bins:
        missing(f"there are no server programs of PostgreSQL {major} here")

    with private_server(bins[major]) as server:
        version = execute(server.url(), "SHOW server_version_num")[0][0]
        server.kill()
        server.start()
        execute(server.url(), "CREATE TABLE t ()")

    assert int(version) // 10000 == major
    assert not server.socket_dir.exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.url(), connect_timeout=2)


def test_a_private_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from safeharbor.postgres.server import *\n"
        "with private_server(find_server_bins()[max(find_server_bins())]) as server:\n"
        "    print(server.url(), flush=True)\n"
        "    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    url = parent.stdout.readline().decode().strip()
    execute(url, "SELECT 1")

    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()

    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return
        time.sleep(0.1)
    pytest.fail("the server outlived its parent")


def test_a_directory_without_a_server_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(ToolFailed, match=str(tmp_path)), private_server(tmp_path):
        pass
