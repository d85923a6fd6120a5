"""`--log-format json`: one JSON object per line, for whatever collects the logs of containers.

Standard output and error are exchanged while the command runs, so that a line which an app, a library or another part
of us prints becomes an event too: a `line`, whatever it says. Warnings and problems of ours are events by themselves.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO, cast

import click

from safeharbor_backup.cli.lazy import LOG_FORMAT_KEY, LOG_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

JSON = "json"
INFO, WARNING, ERROR = "info", "warning", "error"
_EVERY_SECONDS = 5.0
_END_KEY = "safeharbor.log_end"  # the `ExitStack` of a command's run


class JsonLog:
    """Events of a command's run; with `is_quiet`, without its progress."""

    def __init__(
        self, command: str, output: TextIO, errors: TextIO, *, is_quiet: bool = False, has_document: bool = False
    ) -> None:
        self.command = command
        self.is_quiet = is_quiet
        self.has_document = has_document  # standard output is the document of --json
        self._output = output
        self._errors = errors

    def on_output(self) -> JsonLog:
        """The same with everything on standard output, as a service's log is."""
        return JsonLog(self.command, self._output, self._output)

    def emit(self, event: str, level: str = INFO, *, is_result: bool = False, **fields: object) -> None:
        """One line; results go to standard output, all else to standard error. What is None is left out."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        document = {"time": now, "level": level, "event": event, "command": self.command, **fields}
        line = json.dumps({key: value for key, value in document.items() if value is not None}, default=str)
        stream = self._output if is_result else self._errors
        stream.write(f"{line}\n")
        stream.flush()


class _Lines:
    """A stream whose lines become events. One that was not ended is an event when it is flushed, as a question is."""

    encoding = "utf-8"
    errors = "strict"

    def __init__(self, target: TextIO, hear: Callable[[str], None]) -> None:
        self._target = target
        self._hear = hear
        self._begun = ""

    def write(self, text: str) -> int:
        """Hear each line that ends in `text`."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._tell(line)
        return len(text)

    def flush(self) -> None:
        """Hear what has been begun."""
        begun, self._begun = self._begun, ""
        self._tell(begun)
        self._target.flush()

    def isatty(self) -> bool:
        """Nothing here is for a terminal."""
        return False

    def close(self) -> None:
        """Close the stream behind it."""
        self._target.close()

    def _tell(self, line: str) -> None:
        if line.strip():
            self._hear(line.strip())


class JsonWatcher:
    """Progress as events: one when a phase ends, and one every few seconds within it."""

    def __init__(self, log: JsonLog, command: str | None = None) -> None:
        self._log = log
        self._command = command or log.command
        self._phase = ""
        self._started = self._said = time.monotonic()
        self._bytes = 0

    def phase(self, name: str, total_bytes: int | None = None) -> None:
        """Tell that the one before has ended, unless it is the same, now with a size."""
        if name == self._phase:
            return
        self.finish()
        self._phase = name
        self._started = self._said = time.monotonic()
        self._bytes = 0

    def advance(self, size_bytes: int, items: int = 0) -> None:
        """Count it."""
        self._bytes += size_bytes
        if time.monotonic() - self._said >= _EVERY_SECONDS:
            self._said = time.monotonic()
            self._tell("progress")

    def step(self, name: str) -> None:
        """Nothing that an operator has to know."""

    def note(self, text: str) -> None:
        """One line."""
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
        self._log.emit(event, command=self._command, phase=self._phase, bytes=self._bytes, seconds=seconds)


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


@contextmanager
def logging_run(ctx: click.Context) -> Iterator[None]:
    """A run of a command, from its first word to its last; within it, it may begin to speak JSON."""
    with ExitStack() as until_end:  # not the context's own: a command that leaves with a status has closed that
        ctx.meta[_END_KEY] = until_end
        begin_log(ctx)
        yield


def begin_log(ctx: click.Context, default: str | None = None) -> None:
    """From here on the command speaks JSON, if it was told to; `default` is what the settings say."""
    if LOG_FORMAT_KEY not in ctx.meta or LOG_KEY in ctx.meta:
        return  # it has no such option, or has begun
    if (ctx.meta[LOG_FORMAT_KEY] or default) == JSON:
        ctx.meta[LOG_KEY] = ctx.meta[_END_KEY].enter_context(_speaking_json(str(ctx.info_name), ctx.params))


def current_log() -> JsonLog | None:
    """The running command's events; None if it speaks to people."""
    context = click.get_current_context(silent=True)
    found = context.meta.get(LOG_KEY) if context is not None else None
    return found if isinstance(found, JsonLog) else None


def show_warning(text: str) -> None:
    """A warning, as a line for people or as an event of its level."""
    log = current_log()
    if log is not None:
        log.emit("warning", WARNING, message=text)
    else:
        click.echo(f"Warning: {text}", err=True)


def show_problem(text: str, hint: str = "") -> None:
    """What stands in the way, as lines for people or as an event of its level."""
    log = current_log()
    if log is not None:
        log.emit("problem", ERROR, message=text, hint=hint or None)
        return
    click.echo(f"Problem: {text}", err=True)
    if hint:
        click.echo(f"  Hint: {hint}", err=True)


@contextmanager
def _speaking_json(command: str, options: Mapping[str, object]) -> Iterator[JsonLog]:
    has_document = bool(options.get("as_json"))
    is_quiet = has_document or bool(options.get("quiet"))
    log = JsonLog(command, sys.stdout, sys.stderr, is_quiet=is_quiet, has_document=has_document)

    def hear(line: str, *, is_result: bool) -> None:
        log.emit("line", is_result=is_result, message=line)

    output = _Lines(sys.stdout, lambda line: hear(line, is_result=True))
    errors = _Lines(sys.stderr, lambda line: hear(line, is_result=False))
    # the document of --json goes out as it is
    with (
        redirect_stdout(sys.stdout if has_document else cast("TextIO", output)),
        redirect_stderr(cast("TextIO", errors)),
    ):
        yield log
        for stream in (output, errors):
            try:
                stream.flush()
            except OSError:
                pass  # nobody reads it any more
