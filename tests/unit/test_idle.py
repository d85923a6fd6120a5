"""Where `idle` may start, and whom it tells to end; real containers are in tests/faults."""

from __future__ import annotations

import os
import subprocess
import sys
from signal import SIGHUP, SIGTERM

import pytest

from safeharbor_backup.actions.idle import judge_place, plan_signals
from safeharbor_backup.system.processes import OtherProcess, is_proc_ours, read_other_processes
from support.runs import MAIN


def process(pid: int, parent: int = 0, *, ignores_term: bool = False) -> OtherProcess:
    return OtherProcess(pid, parent, 1000 + pid, "some", ignores_term)


@pytest.mark.parametrize(
    ("pid", "parent", "other_processes"),
    [
        (1, 0, []),
        (1, 0, [process(30), process(31, 30), process(40, 1)]),
        (7, 1, []),
        (7, 1, [process(30), process(31, 30)]),
    ],
    ids=["itself PID 1", "PID 1 beside others", "below an init", "below an init, beside what came from outside"],
)
def test_it_may_idle_in_a_container_of_its_own(pid: int, parent: int, other_processes: list[OtherProcess]) -> None:
    assert judge_place(pid, parent, other_processes, is_host=False, is_proc_ours=True) == ""


@pytest.mark.parametrize(
    ("pid", "parent", "is_host", "is_proc_ours", "other_processes", "why"),
    [
        (4711, 4000, True, True, [], "neither PID 1 nor a child"),
        (4711, 4000, False, True, [], "neither PID 1 nor a child"),
        (20, 0, False, True, [], "neither PID 1 nor a child"),
        (4711, 1, True, True, [], "the host"),
        (1, 0, False, False, [], "another PID namespace"),
        (7, 1, False, False, [], "another PID namespace"),
        (7, 1, False, True, [process(9, 1)], "other children: 9 (some)"),
    ],
    ids=[
        "a shell of the host", "a shell in a container", "what came from outside", "a service of the host",
        "PID 1 with another /proc", "a child with another /proc", "a service of a container with a whole system",
    ],
)  # fmt: skip
def test_it_may_not_where_processes_are_not_its_own_to_end(
    pid: int, parent: int, is_host: bool, is_proc_ours: bool, other_processes: list[OtherProcess], why: str
) -> None:
    assert why in judge_place(pid, parent, other_processes, is_host=is_host, is_proc_ours=is_proc_ours)


def test_what_came_from_outside_is_told_first_and_its_children_only_if_they_stay() -> None:
    backup, dump, orphan = process(30), process(31, 30), process(40, 1)

    assert plan_signals([backup, dump, orphan], set(), 7, 0.0) == [(backup, SIGTERM), (orphan, SIGTERM)]
    told = {backup.identity, orphan.identity}
    assert plan_signals([backup, dump, orphan], told, 7, 1.9) == []
    assert plan_signals([backup, dump, orphan], told, 7, 2.0) == [(dump, SIGTERM)]


def test_who_ignores_term_is_hung_up() -> None:
    shell = process(30, ignores_term=True)

    assert plan_signals([shell], set(), 7, 0.0) == [(shell, SIGHUP)]


def test_a_new_process_with_an_old_number_is_told_too() -> None:
    later = OtherProcess(30, 0, 9999, "later", False)

    assert plan_signals([later], {process(30).identity}, 7, 0.0) == [(later, SIGTERM)]


def test_other_processes_are_read_as_they_are() -> None:
    name = "a) (b"
    program = (
        f"import ctypes, signal, sys; ctypes.CDLL(None).prctl(15, {name.encode()!r});"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        (found,) = [each for each in read_other_processes() if each.pid == child.pid]
        assert child.stdin is not None
        child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
        remaining = [each.pid for each in read_other_processes()]
        child.wait()

    assert (found.parent, found.name, found.ignores_term) == (os.getpid(), name, True)
    assert child.pid not in remaining
    assert os.getpid() not in remaining
    assert is_proc_ours()


def test_outside_a_container_it_refuses_to_start() -> None:
    done = subprocess.run([sys.executable, "-c", MAIN, "idle"], capture_output=True, check=False, timeout=60)

    assert done.returncode == 2
    assert b"neither PID 1 nor a child of it" in done.stderr
    assert b"Hint: " in done.stderr
