from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, cast

import pytest

from safeharbor_backup.errors import Interrupted, ToolFailed
from safeharbor_backup.system import process
from safeharbor_backup.system.process import PIPE, read_some, run_tool, started_tool, tool_environment
from safeharbor_backup.system.signals import signals_interrupt
from safeharbor_backup.system.threads import Watchdog
from support.archives import write_program
from support.patience import patient


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_running(pid)


def test_status_output_and_last_words_of_a_tool_are_told(tmp_path: Path) -> None:
    tool = write_program(tmp_path / "tool", 'printf "%s|" "$@"; echo oops >&2; exit 3')

    result = run_tool([tool, "a b", "$HOME", ";"])

    assert (result.exit_status, result.stdout, result.stderr) == (3, b"a b|$HOME|;|", "oops")


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(ToolFailed, match="pg_nothing cannot be started: No such file"):
        run_tool(["/nowhere/pg_nothing"])


def test_a_file_that_is_no_program_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")

    with pytest.raises(ToolFailed, match="text cannot be started"):
        run_tool([tmp_path / "text"])


def test_a_tool_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    tool = write_program(tmp_path / "tool", f"echo $$ > {tmp_path}/pid; exec sleep 60")
    started = time.monotonic()

    with pytest.raises(ToolFailed, match=r"tool did not finish within 0\.3 s"):
        run_tool([tool], timeout_seconds=0.3)

    assert time.monotonic() - started < patient(5)
    assert wait_until_gone(int((tmp_path / "pid").read_text()))


def test_more_words_than_a_pipe_holds_do_not_block_and_the_last_are_kept(tmp_path: Path) -> None:
    tool = write_program(tmp_path / "tool", "i=0; while [ $i -lt 20000 ]; do echo line $i >&2; i=$((i+1)); done")

    lines = run_tool([tool]).stderr.splitlines()

    assert len(lines) == 200
    assert lines[-1] == "line 19999"


def test_a_tool_reads_what_is_written_to_it(tmp_path: Path) -> None:
    tool = write_program(tmp_path / "tool", "exec tr a-z A-Z")

    with started_tool([tool], stdin=PIPE) as running:
        running.stdin.write(b"hello")
        running.stdin.close()
        answer = running.stdout.read()
        assert running.wait() == 0

    assert answer == b"HELLO"


def test_a_tool_is_ended_when_the_block_is_left(tmp_path: Path) -> None:
    tool = write_program(tmp_path / "tool", "exec sleep 60")

    pids = []

    def fail_beside_it() -> None:
        with started_tool([tool], stdin=PIPE) as running:
            pids.append(running.pid)
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail_beside_it()

    assert [is_running(pid) for pid in pids] == [False]


def test_a_tool_that_ignores_the_request_to_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_GRACE_SECONDS", 0.2)
    tool = write_program(tmp_path / "tool", f"trap '' TERM; touch {tmp_path}/ready; while :; do sleep 0.05; done")

    with started_tool([tool]) as running:
        pid = running.pid
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)

    assert not is_running(pid)


@pytest.mark.parametrize("wrapper", ["", "trap '' TERM; "])
def test_what_a_wrapper_has_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrapper: str) -> None:
    monkeypatch.setattr(process, "_GRACE_SECONDS", 0.2)
    with started_tool([write_program(tmp_path / "tool", f"{wrapper}sleep 60 & echo $!; wait; wait")]) as running:
        child = int(running.stdout.readline())

    assert wait_until_gone(child)


def test_waiting_has_an_end(tmp_path: Path) -> None:
    with started_tool([write_program(tmp_path / "tool", "exec sleep 60")]) as running:
        assert running.poll() is None
        with pytest.raises(ToolFailed, match="did not finish"):
            running.wait(0.1)


def test_a_tool_that_is_ended_by_a_signal_says_so(tmp_path: Path) -> None:
    with started_tool([write_program(tmp_path / "tool", "kill -9 $$")]) as running:
        assert running.wait() == -signal.SIGKILL


def test_a_signal_that_comes_as_a_tool_starts_leaves_no_watchdog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Watchdog.start
    before = len(os.listdir("/proc/self/task"))

    def disturbed(watchdog: Watchdog) -> None:
        start(watchdog)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Watchdog, "start", disturbed)
    with signals_interrupt(), pytest.raises(Interrupted):
        run_tool([write_program(tmp_path / "tool", "exec sleep 60")], timeout_seconds=60)

    ends = time.monotonic() + 5
    while len(os.listdir("/proc/self/task")) > before:
        assert time.monotonic() < ends
        time.sleep(0.01)


PARENT = """
import sys, time
from safeharbor_backup.system.process import started_tool
with started_tool([sys.argv[1]]) as tool:
    print(tool.pid, flush=True)
    time.sleep(60)
"""


def test_a_tool_dies_with_us_however_we_die(tmp_path: Path) -> None:
    tool = write_program(tmp_path / "tool", "exec sleep 60")
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", PARENT, tool], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()

    assert wait_until_gone(pid)


def test_a_tool_is_out_of_reach_of_the_terminals_keys(tmp_path: Path) -> None:
    with started_tool([write_program(tmp_path / "tool", "exec sleep 60")]) as running:
        assert os.getsid(running.pid) == running.pid


def test_a_tool_gets_what_libpq_reads_and_none_of_the_apps_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECRET_KEY", "DATABASE_URL", "BACKUP_DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "LC_ALL", "LANG"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("PGSSLROOTCERT", "/ca.pem")
    monkeypatch.setenv("HOME", "/home/app")

    environment = tool_environment({"PGPASSWORD": "x"})

    assert "secret" not in environment.values()
    assert environment["PGSSLROOTCERT"] == "/ca.pem"
    assert environment["HOME"] == "/home/app"
    assert (environment["LC_ALL"], environment["PGPASSWORD"]) == ("C", "x")


def test_what_comes_from_a_pipe_is_read_at_once_from_streams_that_have_a_descriptor_and_no_more() -> None:
    class OfEventlet:
        """As its `GreenFileIO`, which has no `read1`."""

        def __init__(self, descriptor: int) -> None:
            self.fileno = lambda: descriptor

    reader, writer = os.pipe()
    os.write(writer, b"one")
    stream = cast("IO[bytes]", OfEventlet(reader))

    assert read_some(stream, 2) == b"on"
    assert read_some(stream, 1000) == b"e"
    os.close(writer)
    assert read_some(stream, 1000) == b""
    os.close(reader)
