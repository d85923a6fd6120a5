"""`idle` in a real PID namespace, itself PID 1 or below an init, with what `docker exec` would start beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.faults import Before, children_left
from support.needs import need_program, need_root
from support.patience import patient
from support.runs import MAIN, Site

IDLE = [sys.executable, "-W", "error", "-c", MAIN, "idle"]
NOBODY = "65534"


class Container:
    """A PID namespace whose PID 1 is `argv`; what is executed in it has its parent outside, as with `docker exec`."""

    def __init__(self, argv: list[str], env: dict[str, str] | None = None) -> None:
        need_root()
        unshare = [str(need_program("unshare")), "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
        self.process = subprocess.Popen(
            [*unshare, *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/", env=env
        )
        self.said = ""
        self.executed: list[subprocess.Popen[bytes]] = []

    @property
    def first(self) -> int:
        """The number of its PID 1 on the outside."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def wait_until_said(self, words: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line.decode()
            if words in self.said:
                return
        raise AssertionError(self.said)

    def wait_until_idle(self) -> None:
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline().decode()
        assert self.said.startswith("idle: waiting"), self.said

    def execute(self, *argv: str, site: Site | None = None) -> subprocess.Popen[bytes]:
        enter = [str(need_program("nsenter")), f"--target={self.first}", "--pid", "--mount", "--"]
        started = subprocess.Popen(
            [*enter, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=None if site is None else site.full_environment(),
            cwd="/" if site is None else site.root,
        )
        self.executed.append(started)
        return started

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell PID 1 to stop, as `docker stop` does; the exit status."""
        os.kill(self.first, number)
        self.said += self.process.communicate(timeout=30)[0].decode()
        return self.process.returncode


@contextmanager
def container(argv: list[str], env: dict[str, str] | None = None) -> Iterator[Container]:
    made = Container(argv, env)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()  # and the kernel everything in the namespace
        made.process.communicate()
        for each in made.executed:
            each.communicate(timeout=30)


def below_tini() -> list[str]:
    return [str(need_program("tini")), "--", *IDLE]


def below_a_shell() -> list[str]:
    """An init that somebody wrote: it forwards TERM to its child, and waits for it."""
    return ["sh", "-c", 'trap \'kill -TERM "$child"\' TERM; "$0" "$@" & child=$!; wait "$child"; wait "$child"', *IDLE]


INITS: dict[str, Callable[[], list[str]]] = {
    "itself PID 1": lambda: IDLE,
    "below tini": below_tini,
    "below a shell": below_a_shell,
}


@pytest.mark.parametrize("init", INITS.values(), ids=INITS.keys())
def test_a_backup_that_runs_when_the_container_is_stopped_ends_in_order(
    site: Site, init: Callable[[], list[str]]
) -> None:
    assert site.run("backup").status == 0
    before = Before(site)
    photo = site.uploads / "large.bin"
    photo.write_bytes(b"\xff" * 150_000_000)
    with container(init()) as made:
        made.wait_until_idle()
        backup = made.execute(*site.argv("backup", "--no-prune"), site=site)
        deadline = time.monotonic() + 20
        while not site.leftovers and time.monotonic() < deadline:
            time.sleep(0.005)
        assert site.leftovers, "the backup ended before it could be disturbed"

        status = made.stop()

        said = backup.communicate(timeout=30)[0].decode()
    photo.unlink()
    assert status == 0, made.said
    assert backup.returncode == 143, said
    assert "Stopped: interrupted by SIGTERM. Nothing unfinished is left behind." in said
    assert site.leftovers == []
    assert not children_left(site)
    assert made.said.splitlines()[-1] == "idle: nothing else is running; ending"
    before.unharmed()


@pytest.mark.parametrize("init", INITS.values(), ids=INITS.keys())
def test_alone_it_ends_at_once(init: Callable[[], list[str]]) -> None:
    with container(init()) as made:
        made.wait_until_idle()
        started = time.monotonic()

        assert made.stop() == 0

        assert time.monotonic() - started < patient(5)
        assert made.said.splitlines()[1:] == ["idle: SIGTERM", "idle: nothing else is running; ending"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=lambda each: each.name)
def test_as_pid_1_it_hears_the_other_signals_too(number: signal.Signals) -> None:
    with container(IDLE) as made:
        made.wait_until_idle()

        assert made.stop(number) == 0

        assert f"idle: {number.name}\n" in made.said


def test_what_does_not_heed_term_is_hung_up_and_its_children_are_ended_too() -> None:
    with container(IDLE) as made:
        made.wait_until_idle()
        shell = made.execute("sh", "-c", 'trap "" TERM; sleep 300 & echo; wait')
        assert shell.stdout is not None
        shell.stdout.readline()

        assert made.stop() == 0

        assert "SIGHUP to" in made.said
        assert "(sleep)" in made.said


def test_what_takes_its_time_is_waited_for() -> None:
    with container(IDLE) as made:
        made.wait_until_idle()
        slow = made.execute("sh", "-c", "trap 'sleep 1; echo done; exit 5' TERM; echo; while :; do sleep 0.1; done")
        assert slow.stdout is not None
        slow.stdout.readline()

        assert made.stop() == 0

        assert slow.communicate(timeout=30)[0] == b"done\n"
        assert slow.returncode == 5


def test_what_is_another_users_is_named_and_waited_for() -> None:
    setpriv = [str(need_program("setpriv")), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    may_read = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]  # our Python may lie below /root
    with container([*setpriv, *may_read, *IDLE]) as made:
        made.wait_until_idle()
        root = made.execute("sh", "-c", "echo; sleep 1.5; echo done")
        assert root.stdout is not None
        root.stdout.readline()

        assert made.stop() == 0

        assert root.communicate(timeout=30)[0] == b"done\n"
        assert "another user's and cannot be signalled" in made.said


def test_nothing_stays_of_orphans_that_it_inherits_as_pid_1() -> None:
    with container(IDLE) as made:
        made.wait_until_idle()
        made.execute("sh", "-c", "sleep 0.2 & :").wait(timeout=10)
        time.sleep(0.5)
        listed = made.execute("sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null | cut -d' ' -f2,3")

        states = listed.communicate(timeout=10)[0].decode()

    assert "(sleep)" not in states


def test_beside_other_services_of_a_whole_system_it_refuses_to_start() -> None:
    system = ["sh", "-c", 'sleep 30 & "$0" "$@"; exit $?', *IDLE]
    with container(system) as made:
        said = made.process.communicate(timeout=30)[0].decode()

    assert made.process.returncode == 2
    assert "PID 1 has other children" in said
    assert "(sleep)" in said


@pytest.mark.parametrize("below_an_init", [True, False], ids=["below tini", "itself PID 1"])
def test_a_scheduler_in_a_container_of_its_own_lets_the_others_end_too(site: Site, below_an_init: bool) -> None:
    init = [str(need_program("tini")), "--"] if below_an_init else []
    environment = site.full_environment({"BACKUP_SCHEDULE": "0 0 3 1 1 *"})
    with container([*init, *site.argv("scheduler")], environment) as made:
        made.wait_until_said("next verify: ")
        slow = made.execute("sh", "-c", "trap 'sleep 1; echo done; exit 5' TERM; echo; while :; do sleep 0.1; done")
        assert slow.stdout is not None
        slow.stdout.readline()

        assert made.stop() == 0

        assert slow.communicate(timeout=30)[0] == b"done\n"
        assert "SIGTERM to" in made.said
        assert made.said.endswith("stopped: interrupted by SIGTERM\n")
