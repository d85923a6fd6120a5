"""`--log-format json`: one JSON object per line, for whatever collects the logs of containers.

What the command itself says are events by their names.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

import click

from safeharbor_backup.cli.lazy import LOG_FORMAT_KEY
from safeharbor_backup.cli.output import ERROR, INFO, WARNING, Output, is_good
from safeharbor_backup.cli.progress_bar import seconds_left
from safeharbor_backup.errors import ExitStatus
from safeharbor_backup.progress import NoProgress
from safeharbor_backup.system.documents import dump_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from safeharbor_backup.cli.ending import Ending
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.state.history import Outcome

JSON = "json"
_EVERY_SECONDS = 5.0


class JsonOutput:
    """Events of a command's run; with `is_quiet`, without its progress."""

    def __init__(
        self, command: str, output: TextIO, errors: TextIO, *, is_quiet: bool = False, has_document: bool = False
    ) -> None:
        self.is_quiet = is_quiet
        self.documents = 0
        self._command = command
        self._has_document = has_document  # standard output is the document of --json
        self._output = output
        self._errors = errors

    def emit(self, event: str, level: str = INFO, *, is_result: bool = False, **fields: object) -> None:
        """One line; results go to standard output, all else to standard error. What is None is left out."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        document = {"time": now, "level": level, "event": event, "command": self._command, **fields}
        line = json.dumps({key: value for key, value in document.items() if value is not None}, default=str)
        stream = self._output if is_result else self._errors
        stream.write(f"{line}\n")
        stream.flush()

    def result(self, text: str = "") -> None:
        """A `line` on standard output for each of them."""
        for line in filter(None, map(str.strip, text.split("\n"))):
            self.emit("line", is_result=True, message=line)

    def document(self, document: object) -> None:
        """The document, as it is."""
        self.documents += 1
        self._output.write(dump_document(document, indent=2) + "\n")
        self._output.flush()

    def ask(self, question: str) -> None:
        """A `line` on standard output."""
        self.result(question)

    def line(self, text: str) -> None:
        """A `line` for each of them."""
        for line in filter(None, map(str.strip, text.split("\n"))):
            self.emit("line", message=line)

    def aside(self, text: str) -> None:
        """Nothing: an event says it."""

    def event(
        self, name: str, text: str, *, level: str = INFO, command: str | None = None, slot: str | None = None
    ) -> None:
        """A line of JSON about something that happens."""
        self.emit(name, level, command=command or self._command, slot=slot, message=text)

    def warning(self, text: str) -> None:
        """A `warning`."""
        self.emit("warning", WARNING, message=text)

    def problem(self, text: str, hint: str = "") -> None:
        """A `problem`."""
        self.emit("problem", ERROR, message=text, hint=hint or None)

    def end(self, ending: Ending, outcome: Outcome | None, command: str | None = None) -> None:
        """`done` or `failed`, with all that is known."""
        status = int(outcome.exit_status if outcome is not None else ending.status)
        good = is_good(status)
        self.emit(
            "done" if good else "failed",
            (INFO if status == ExitStatus.DONE else WARNING) if good else ERROR,
            is_result=good and not self._has_document,
            command=command or self._command,
            exit_status=status,
            seconds=round(outcome.seconds, 3) if outcome is not None else None,
            archive=outcome.archive if outcome is not None else None,
            bytes=outcome.details.get("size_bytes") if outcome is not None else None,
            message=ending.reason or (outcome.reason if outcome is not None else "") or None,
            problems=list(ending.problems) or None,
            intact=ending.advice.intact or None,
            hint=ending.advice.hint or None,
            warnings=list(outcome.warnings) if outcome is not None and outcome.warnings else None,
            details=dict(outcome.details) if outcome is not None and outcome.details else None,
        )

    @contextmanager
    def watching(self, *, quiet: bool = False, command: str | None = None) -> Iterator[Progress]:
        """Progress as lines of JSON, while the block runs."""
        watcher = JsonWatcher(self, command or self._command)
        yield watcher
        watcher.finish()

    def as_service(self) -> Output:
        """The same with everything on standard output."""
        return JsonOutput(self._command, self._output, self._output)


class JsonWatcher(NoProgress):
    """Progress as events: one when a phase ends, and one every few seconds within it."""

    def __init__(self, log: JsonOutput, command: str) -> None:
        self._log = log
        self._command = command
        self._phase = ""
        self._started = self._said = time.monotonic()
        self._bytes = 0
        self._total: int | None = None

    def phase(self, name: str, total_bytes: int | None = None) -> None:
        """Report that the previous one has ended, unless it is the same, now with a size."""
        if name == self._phase:
            self._total = total_bytes
            return
        self.finish()
        self._phase = name
        self._total = total_bytes
        self._started = self._said = time.monotonic()
        self._bytes = 0

    def advance(self, size_bytes: int, items: int = 0) -> None:
        """Count what was done; a line now and then."""
        self._bytes += size_bytes
        if time.monotonic() - self._said >= _EVERY_SECONDS:
            self._said = time.monotonic()
            self._tell("progress")

    def note(self, text: str) -> None:
        """A line of the kind `note`, unless the run is to be quiet."""
        if not self._log.is_quiet:
            self._log.emit("note", command=self._command, message=text)

    def warn(self, text: str) -> None:
        """One line that is a warning."""
        self._log.emit("warning", WARNING, command=self._command, message=text)

    def finish(self) -> None:
        """The last phase has ended."""
        if self._phase:
            self._tell("phase")
        self._phase = ""

    def _tell(self, event: str) -> None:
        if self._log.is_quiet:
            return
        seconds = round(time.monotonic() - self._started, 3)
        left = seconds_left(self._bytes, self._total, seconds) if event == "progress" else None
        self._log.emit(
            event,
            command=self._command,
            phase=self._phase,
            bytes=self._bytes,
            seconds=seconds,
            total_bytes=self._total if left is not None else None,
            seconds_left=round(left, 1) if left is not None else None,
        )


def log_format_option(callback: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option `--log-format`; without it `BACKUP_LOG_FORMAT` counts."""

    def choose(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
        ctx.meta[LOG_FORMAT_KEY] = value

    option = click.option(
        "--log-format",
        type=click.Choice(["human", JSON]),
        callback=choose,
        expose_value=False,
        help="`json`: one JSON object per line, on standard error; the result on standard output.",
    )
    return option(callback)
