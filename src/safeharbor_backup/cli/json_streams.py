"""Standard output and error while a command runs with `--log-format json`.

Both are exchanged, so that a line which an app or a library prints becomes an event too: a `line`, whatever it says.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, TextIO, cast

from safeharbor_backup.cli.json_output import JsonOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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


@contextmanager
def speaking_json(command: str, *, is_quiet: bool, has_document: bool) -> Iterator[JsonOutput]:
    """Events in the place of standard output and error; what others print there meanwhile becomes events too."""
    log = JsonOutput(command, sys.stdout, sys.stderr, is_quiet=is_quiet, has_document=has_document)
    output, errors = _Lines(sys.stdout, log.result), _Lines(sys.stderr, log.line)
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
