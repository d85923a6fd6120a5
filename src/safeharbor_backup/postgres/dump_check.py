"""The full decode by pg_restore: the only proof that a dump is complete."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from safeharbor_backup.errors import SafeHarborError, ToolFailed
from safeharbor_backup.postgres.copied_rows import RowCounter, ScriptNotUnderstood, TableName
from safeharbor_backup.postgres.errors import trouble_of
from safeharbor_backup.system.process import (
    DEVNULL,
    PIPE,
    RunningTool,
    enlarge_pipe,
    read_some,
    started_tool,
    tool_environment,
)
from safeharbor_backup.system.signals import signals_held
from safeharbor_backup.system.threads import Worker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from safeharbor_backup.postgres.client_tools import ClientTools

_PIECE = 1024 * 1024
_CANNOT_READ = re.compile(
    r"unsupported version|does not support compression|compression is not supported|not built with"
)
_KILLED = "See whether the machine or the container runs out of memory (`dmesg`, `mem_limit`), and run this again."


@contextmanager
def decoding(tools: ClientTools) -> Iterator[RunningTool]:
    """pg_restore, decoding what is written to its `stdin` to nowhere."""
    argv = [str(tools.pg_restore), "--file=/dev/null"]  # decision 17
    with started_tool(argv, env=tool_environment({}), stdin=PIPE, stdout=DEVNULL) as tool:
        enlarge_pipe(tool.stdin.fileno())
        yield tool


class CountedDecoding:
    """The decoder of a dump that is being taken, and the thread that counts the rows which it decodes."""

    def __init__(self, tool: RunningTool) -> None:
        self.tool = tool
        self._counter = RowCounter()
        self._failure: BaseException | None = None
        self._worker = Worker(self._count)

    @classmethod
    @contextmanager
    def started(cls, tools: ClientTools) -> Iterator[CountedDecoding]:
        """Data alone: nothing in such a script can be taken for rows, and every block of the dump is decoded for it."""
        argv = [str(tools.pg_restore), "--data-only", "--file=-"]  # decision 82
        with started_tool(argv, env=tool_environment({}), stdin=PIPE) as tool:
            enlarge_pipe(tool.stdin.fileno())
            enlarge_pipe(tool.stdout.fileno())
            counted = cls(tool)
            try:
                with signals_held():  # one that came in between would leave a thread that nobody ends
                    counted._worker.start()
                yield counted
            finally:
                with signals_held():
                    if counted._worker.is_alive:
                        tool.kill()  # the thread ends with it, and gives the pipe back
                        counted._worker.join()

    def finish(self) -> dict[TableName, int]:
        """The rows of each table of the dump. Raises ToolFailed, UnreadableHere."""
        finish_decoding(self.tool)
        self._worker.join()
        try:
            if self._failure is not None:
                raise self._failure
            self._counter.finish()
        except ScriptNotUnderstood as error:
            raise ToolFailed(f"the rows in pg_restore's script cannot be counted at {error}") from error
        return self._counter.rows

    def _count(self) -> None:
        try:
            while piece := read_some(self.tool.stdout, _PIECE):
                self._counter.feed(piece)
        except BaseException as failure:
            self._failure = failure
            self.tool.kill()  # it would wait for somebody who reads


def feed(decoder: RunningTool, chunk: bytes) -> bool:
    """Whether it still takes input; a pg_restore that fails stops reading, and its exit status shows why."""
    try:
        decoder.stdin.write(chunk)
    except BrokenPipeError:
        return False
    return True


class UnreadableHere(SafeHarborError):
    """The dump may be sound, but no pg_restore here can read it."""


class UndecodableDump(SafeHarborError):
    """The dump's bytes do not decode, as pg_restore says."""


def finish_decoding(tool: RunningTool) -> None:
    """Raises UndecodableDump if the dump does not decode, UnreadableHere if this pg_restore is the wrong one.

    And ToolFailed if it was killed, or lacked what every process needs: that says nothing about the dump.
    """
    try:
        tool.stdin.close()
    except BrokenPipeError:
        pass  # it ended before the last bytes came; its status says why
    status = tool.wait()
    if status == 0:
        return
    said = " ".join(line.removeprefix("pg_restore: ") for line in tool.stderr.splitlines()[-3:])
    if _CANNOT_READ.search(said):
        raise UnreadableHere(said)
    if status < 0 or trouble_of(tool.stderr) is not None:
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
