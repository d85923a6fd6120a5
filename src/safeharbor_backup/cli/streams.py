"""Standard output and error, written as far as that is possible: what becomes of the words never ends the work.

A log on a full disk, a reader that went away, a descriptor that was closed: the run goes on, keeps its status, and the
history says that output was lost.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from contextvars import ContextVar
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

_GONE = (errno.EPIPE, errno.EBADF)  # nobody will read there again; a full disk may have room later


class BestEffort:
    """A text stream of which neither `write` nor `flush` fails; `lost` counts the times that something was lost."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.encoding = "utf-8"  # not the stream's own: click would go past us to what is behind one for ASCII
        self.lost = 0
        self.why = "it is closed"
        self.is_cut = False

    def write(self, text: str) -> int:
        """Write it, or count it as lost."""
        if not isinstance(text, str):  # click tries what it may write
            raise TypeError(f"text is written here, not {type(text).__name__}")
        if self._stream is None:
            self.lost += bool(text)
            return len(text)
        try:
            self._stream.write(text)
        except UnicodeEncodeError as error:  # a stream for ASCII, and a name that is not
            return self.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
        except (OSError, ValueError) as error:  # ValueError: closed by somebody
            self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Write what is held back, or count it as lost."""
        try:
            if self._stream is not None:
                self._stream.flush()
        except (OSError, ValueError) as error:
            self._lose(error)

    def __getattr__(self, name: str) -> object:
        """What an app may want of its standard output when it is loaded."""
        return getattr(self.__dict__.get("_stream"), name)

    def isatty(self) -> bool:
        """Whether a terminal is behind it."""
        return self._stream is not None and not self._stream.closed and self._stream.isatty()

    def fileno(self) -> int:
        """The descriptor behind it. Raises OSError if there is none."""
        if self._stream is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._stream.fileno()

    def end(self) -> None:
        """Give up what could not be written; Python would complain of it at the end, and change the exit status."""
        before = self.lost
        self.flush()
        if self.lost > before:
            self._give_up()

    def _lose(self, error: OSError | ValueError) -> None:
        self.lost += 1
        number = error.errno if isinstance(error, OSError) else errno.EBADF
        self.why = os.strerror(number) if number else str(error)
        if number in _GONE:
            self.is_cut = number == errno.EPIPE
            self._give_up()

    def _give_up(self) -> None:
        stream, self._stream = self._stream, None
        if stream is None:
            return
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
            stream.flush()  # what it holds goes there
        except (OSError, ValueError):
            pass  # no file is behind it


class Streams:
    """Both streams of a run."""

    def __init__(self) -> None:
        self.result = BestEffort(sys.stdout)
        self.messages = BestEffort(sys.stderr)

    @property
    def lost(self) -> int:
        """How many times something could not be written, on either of them."""
        return self.result.lost + self.messages.lost


_current: ContextVar[Streams | None] = ContextVar("streams", default=None)


@contextmanager
def best_effort_output() -> Iterator[Streams]:
    """Inside the block nothing that is printed can fail."""
    outer = _current.get()
    if outer is not None and sys.stdout is cast("TextIO", outer.result):
        yield outer
        return
    _fill_closed_descriptors()
    output = Streams()
    before = _current.set(output)
    try:
        with redirect_stdout(cast("TextIO", output.result)), redirect_stderr(cast("TextIO", output.messages)):
            yield output
    finally:
        _current.reset(before)
        output.result.end()
        output.messages.end()


def lost_output() -> int:
    """How many times the running command could not write to its standard output or error."""
    output = _current.get()
    return output.lost if output is not None else 0


def _fill_closed_descriptors() -> None:
    """The next file that is opened would be standard output, and get what a library prints there."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free
