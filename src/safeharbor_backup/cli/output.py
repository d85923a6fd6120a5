"""What a run prints: results, notes, warnings and problems, as text for people or as JSON events."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import click

from safeharbor_backup.cli.ending import Ending, How
from safeharbor_backup.cli.progress_bar import watching
from safeharbor_backup.errors import ExitStatus
from safeharbor_backup.progress import NoProgress
from safeharbor_backup.system.documents import dump_document
from safeharbor_backup.text import harmless, iso_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from safeharbor_backup.progress import Progress
    from safeharbor_backup.state.history import Outcome

INFO, WARNING, ERROR = "info", "warning", "error"


class Output(Protocol):
    """Where a run says something. `TextOutput` is for people, `JsonOutput` for what collects logs."""

    def result(self, text: str = "") -> None:
        """Print lines of the command's result."""

    documents: int
    """How many were printed."""

    def document(self, document: object) -> None:
        """What `--json` prints, instead of results."""

    def ask(self, question: str) -> None:
        """Print a question, with the cursor behind it."""

    def line(self, text: str) -> None:
        """Print notes on progress."""

    def aside(self, text: str) -> None:
        """Print lines for people only; events report the same in another way."""

    def event(
        self, name: str, text: str, *, level: str = INFO, command: str | None = None, slot: str | None = None
    ) -> None:
        """Report a named event."""

    def warning(self, text: str) -> None:
        """Print a warning."""

    def problem(self, text: str, hint: str = "") -> None:
        """Print a problem that stops a restore or drill, and its hint."""

    def end(self, ending: Ending, outcome: Outcome | None, command: str | None = None) -> None:
        """How the run ended; `outcome` has what is known of one that is remembered."""

    def watching(self, *, quiet: bool = False, command: str | None = None) -> AbstractContextManager[Progress]:
        """The watcher of a command's progress."""

    def as_service(self) -> Output:
        """The same for a service, whose log is standard output alone."""


class TextOutput:
    """Lines for people: results on standard output, all else on standard error."""

    documents = 0

    def result(self, text: str = "") -> None:
        """Lines of standard output."""
        click.echo(harmless(text))

    def document(self, document: object) -> None:
        """The document."""
        self.documents += 1
        self.result(dump_document(document, indent=2))

    def ask(self, question: str) -> None:
        """The question, without the end of a line."""
        click.echo(f"{harmless(question)} ", nl=False)

    def line(self, text: str) -> None:
        """Lines of standard error."""
        click.echo(harmless(text), err=True)

    def aside(self, text: str) -> None:
        """Lines as any others."""
        self.line(text)

    def event(
        self, name: str, text: str, *, level: str = INFO, command: str | None = None, slot: str | None = None
    ) -> None:
        """Its text."""
        self.line(text)

    def warning(self, text: str) -> None:
        """A line that says so."""
        self.line(f"Warning: {text}")

    def problem(self, text: str, hint: str = "") -> None:
        """A line that says so, and what to do."""
        self.line(f"Problem: {text}")
        if hint:
            self.line(f"  Hint: {hint}")

    def end(self, ending: Ending, outcome: Outcome | None, command: str | None = None) -> None:
        """Of an error what failed, what is still intact, what to do next. A bug shows its traceback."""
        if ending.how is How.SIGNAL:
            self.line(f"Stopped: {ending.reason}. {ending.advice.intact}")
        if ending.how is not How.ERROR:
            return
        self.line(f"Error: {ending.reason}")
        for problem in ending.more_problems:
            self.line(f"       {problem}")
        if ending.advice.intact:
            self.line(ending.advice.intact)
        if ending.advice.hint:
            self.line(f"Hint: {ending.advice.hint}")

    def watching(self, *, quiet: bool = False, command: str | None = None) -> AbstractContextManager[Progress]:
        """A bar or lines, on standard error."""
        return watching(self.line, quiet=quiet)

    def as_service(self) -> Output:
        """Lines with their time."""
        return ServiceOutput()


class ServiceOutput(TextOutput):
    """The log of a service: everything on standard output, with its time."""

    def result(self, text: str = "") -> None:
        """Lines as any others."""
        self.line(text)

    def line(self, text: str) -> None:
        """Each line with the time. A log that cannot be written must not cost the backups."""
        now = iso_time(datetime.now(UTC))
        try:
            for line in text.splitlines():
                click.echo(f"{now} {harmless(line)}")
        except OSError:
            pass

    def end(self, ending: Ending, outcome: Outcome | None, command: str | None = None) -> None:
        """How a job ended, if not well, each line with the job's name. A bug was shown with its traceback."""
        if ending.how is How.SIGNAL:
            self.line(f"{command}: stopped, and nothing unfinished is left behind")
        if ending.how is not How.ERROR:
            return
        hint = f"hint: {ending.advice.hint}" if ending.advice.hint else ""
        failed = f"FAILED (status {int(ending.status)}): {ending.reason}"
        for text in filter(None, (failed, *ending.more_problems, ending.advice.intact, hint)):
            self.line(f"{command}: {text}")

    def watching(self, *, quiet: bool = False, command: str | None = None) -> AbstractContextManager[Progress]:
        """Progress as lines: a service has no terminal for bars."""
        return nullcontext(_Named(self.line, command or ""))


class _Named(NoProgress):
    """Notes and warnings of a job, with its name."""

    def __init__(self, line: Callable[[str], None], command: str) -> None:
        self._line = line
        self._command = command

    def note(self, text: str) -> None:
        self._line(f"{self._command}: {text}")

    def warn(self, text: str) -> None:
        self._line(f"{self._command}: warning: {text}")


def is_good(status: int) -> bool:
    """Whether the work was done, be it with warnings."""
    return status in (ExitStatus.DONE, ExitStatus.WARNINGS)
