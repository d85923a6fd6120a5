"""The full decode by pg_restore: the only thing that tells whether a dump is complete."""

from __future__ import annotations

import errno
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from safeharbor.errors import SafeHarborError, ToolFailed
from safeharbor.process import DEVNULL, PIPE, RunningTool, started_tool, tool_environment, widen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from safeharbor.postgres.tools import ClientTools

_CANNOT_READ = re.compile(
    r"unsupported version|does not support compression|compression is not supported|not built with"
)
# client words, which come under LC_ALL=C
_LACKS_SOMETHING = re.compile("|".join(os.strerror(each) for each in (errno.EMFILE, errno.ENFILE, errno.EAGAIN)))
_KILLED = "See whether the machine or the container runs out of memory (`dmesg`, `mem_limit`), and run this again."


@contextmanager
def decoding(tools: ClientTools) -> Iterator[RunningTool]:
    """pg_restore, decoding what is written to its `stdin` to nowhere."""
    argv = [str(tools.pg_restore), "--file=/dev/null"]
    with started_tool(argv, env=tool_environment({}), stdin=PIPE, stdout=DEVNULL) as tool:
        widen(tool.stdin.fileno())
        yield tool


def feed(decoder: RunningTool, chunk: bytes) -> bool:
    """Whether it still takes input; a pg_restore that fails stops reading, and its status tells why."""
    try:
        decoder.stdin.write(chunk)
    except BrokenPipeError:
        return False
    return True


class UnreadableHere(SafeHarborError):
    """The dump may be sound, but no pg_restore here can read it."""


class UndecodableDump(SafeHarborError):
    """What pg_restore says of a dump's bytes."""


def finish_decoding(tool: RunningTool) -> None:
    """Raises UndecodableDump if the dump does not decode, UnreadableHere if this pg_restore is the wrong one.

    And ToolFailed if it was killed, or lacked what every process needs: that says nothing of the dump.
    """
    try:
        tool.stdin.close()
    except BrokenPipeError:
        pass  # it ended before the last bytes came; its status tells
    status = tool.wait()
    if status == 0:
        return
    said = " ".join(line.removeprefix("pg_restore: ") for line in tool.stderr.splitlines()[-3:])
    if _CANNOT_READ.search(said):
        raise UnreadableHere(said)
    if status < 0 or _LACKS_SOMETHING.search(said):
        raise ToolFailed(
            f"pg_restore could not do its work: {said or f'it was ended by signal {-status}'}.", hint=_KILLED
        )
    raise UndecodableDump(said or f"pg_restore ended with status {status}")


def decode_dump(chunks: Iterable[bytes], tools: ClientTools) -> None:
    """Decode a dump to its end; all of `chunks` is taken in any case.

    Raises UndecodableDump if it does not decode, UnreadableHere if only these tools cannot, ToolFailed.
    """
    with decoding(tools) as decoder:
        is_listening = True
        for chunk in chunks:
            is_listening = is_listening and feed(decoder, chunk)
        finish_decoding(decoder)


def reading_order(found: Sequence[ClientTools], writer_major: int) -> list[ClientTools]:
    """The tools with which to try to read a dump: those of the client that wrote it first, then the newest first.

    Builds differ in the compressions that they know, so the newest is not always the one that can.
    """
    return sorted(found, key=lambda tools: (tools.major != writer_major, -tools.major))
