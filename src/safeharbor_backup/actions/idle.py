"""What an otherwise idle container runs: it waits, and on a stop it lets running commands end.

`docker stop` signals PID 1 only. When that ends, the kernel kills whatever else runs in the container, and what
`docker exec` has started there (a backup) gets no signal before. So this process passes the request on and waits until
it is alone.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from safeharbor_backup.errors import ExitStatus, Interrupted, SafeHarborError
from safeharbor_backup.system.processes import OtherProcess, is_first_namespace, is_proc_ours, read_other_processes
from safeharbor_backup.system.signals import orphans_reaped

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

_TICK_SECONDS = 1.0
_POLL_SECONDS = 0.1
_HEAD_START_SECONDS = 2.0
_REMIND_SECONDS = 30.0


class NotAContainer(SafeHarborError):
    """There is no container of our own here, whose processes would be ours to end."""

    exit_status = ExitStatus.USAGE
    hint = (
        "`idle` is for a container that does nothing else: as its command, itself PID 1 or the only child of an init "
        "(`init: true`). In a shell script, start it with `exec`."
    )


def idle_until_told(tell: Callable[[str], None]) -> None:
    """Wait for HUP, INT or TERM; then signal every other process here to end, and wait until none is left.

    How long that may take is for whoever stops the container to say. Raises NotAContainer at once where these
    processes are not ours to end.
    """

    def tell_so(text: str) -> None:
        tell(f"idle: {text}")

    try:
        reason = why_not_ours()
        if reason:
            raise NotAContainer(f"This process may not idle here: {reason}.")
        tell_so("waiting for `docker compose exec …`; when stopped, it waits for the commands that run here")
        with orphans_reaped():
            while True:
                time.sleep(_TICK_SECONDS)
    except Interrupted as asked:
        tell_so(signal.Signals(asked.signal_number).name)
        end_other_processes(tell_so)
        tell_so("nothing else is running; ending")


def judge_place(
    pid: int, parent: int, other_processes: Sequence[OtherProcess], *, is_host: bool, is_proc_ours: bool
) -> str:
    """Why this is not a container whose processes are ours to end; "" if it is."""
    if not is_proc_ours:
        return "/proc shows the processes of another PID namespace"
    if pid == 1:
        return ""  # all others here live only as long as we do
    if parent != 1:  # decision 33
        return "this process is neither PID 1 nor a child of it"
    if is_host:
        return "this is the host, not a container"
    siblings = [each for each in other_processes if each.parent == 1]
    return f"PID 1 has other children: {', '.join(map(str, siblings[:5]))}" if siblings else ""


def plan_signals(
    other_processes: Sequence[OtherProcess], told: Container[tuple[int, int]], own_pid: int, waited_seconds: float
) -> list[tuple[OtherProcess, signal.Signals]]:
    """Whom to signal now, and how; each is signalled once.

    Those that came from outside or have lost their parent come first: they end their own children in order. Two seconds
    later come the children that are still there. Who ignores TERM, as a shell at a terminal does, gets HUP.
    """
    heads = (0, 1, own_pid)
    return [
        (each, signal.SIGHUP if each.ignores_term else signal.SIGTERM)
        for each in other_processes
        if each.identity not in told and (each.parent in heads or waited_seconds >= _HEAD_START_SECONDS)
    ]


def why_not_ours() -> str:
    """Why the processes here are not ours to end; "" if this is our own container.

    To be asked at the start: later, orphans are children of PID 1 too.
    """
    try:
        return judge_place(
            os.getpid(),
            os.getppid(),
            read_other_processes(),
            is_host=is_first_namespace(),
            is_proc_ours=is_proc_ours(),
        )
    except OSError as error:
        return f"/proc cannot be read: {error.strerror}"


def end_other_processes(tell: Callable[[str], None]) -> None:
    """Signal every other process here to end, and wait until none is left. Only for a container of our own."""
    started = reminded = time.monotonic()
    told: set[tuple[int, int]] = set()
    while other_processes := read_other_processes():
        now = time.monotonic()
        for each, number in plan_signals(other_processes, told, os.getpid(), now - started):
            told.add(each.identity)
            tell(_tell_to_end(each, number))
        if now - reminded >= _REMIND_SECONDS:
            reminded = now
            tell(f"still waiting for {', '.join(map(str, other_processes))}")
        time.sleep(_POLL_SECONDS)


def _tell_to_end(other_process: OtherProcess, number: signal.Signals) -> str:
    try:
        os.kill(other_process.pid, number)
    except ProcessLookupError:
        return f"{other_process} has ended"
    except PermissionError:
        return f"waiting for {other_process}, which is another user's and cannot be signalled"
    return f"{number.name} to {other_process}, waiting for it"
