"""A scheduler at work in a process of its own."""

from __future__ import annotations

import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from support.postgres import PASSWORD
from support.runs import Site


class Running:
    """A scheduler at work, and what it has said."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.log: list[str] = []

    def read_until(self, words: str) -> str:
        """The first new line with these words."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.append(line.decode().rstrip("\n"))
            if words in self.log[-1]:
                return self.log[-1]
        assert self.process.stderr is not None
        self.log.append(self.process.stderr.read().decode())
        raise AssertionError(f"{words!r} was never said:\n" + "\n".join(self.log))

    def is_quiet_for(self, seconds: float) -> bool:
        """Whether it says nothing for so long."""
        assert self.process.stdout is not None
        return not select.select([self.process.stdout], [], [], seconds)[0]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        self.log += out.decode().splitlines()
        assert PASSWORD not in out.decode() + err.decode()
        assert err == b""
        return self.process.returncode


@contextmanager
def scheduling(site: Site, schedule: str, *arguments: str, **extra: str) -> Iterator[Running]:
    environment = {
        "BACKUP_SCHEDULE": schedule,
        "BACKUP_VERIFY_SCHEDULE": "none",
        "BACKUP_DRILL_SCHEDULE": "none",
        **extra,
    }
    with site.start("scheduler", *arguments, **environment) as process:  # its end closes the pipes
        try:
            yield Running(process)
        finally:
            if process.poll() is None:
                process.kill()
