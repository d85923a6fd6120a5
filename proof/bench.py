"""A pytest that has collected everything once, and tries mutants in forked children: `python -m proof.bench 3 4 TESTS`.

It reads requests from the first open file, a line of JSON each, and answers on the second. The answer to
`{"list": MODULE}` has the keys of its mutants, that to `{"module": MODULE, "number": 7}` the result of its tests.
Only tests that call the changed function run: quick ones and those that have found most first, up to a failure.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from typing import Any, NoReturn

import pytest
from _pytest.runner import runtestprotocol

from proof.mutants import Mutant, mutants_of, put_in_place, take_notes

NO_END = "no end, or the end of us all"
_LIMIT_SECONDS = 30
_LIMIT_BYTES = 6 << 30
_LIMIT_FILE_BYTES = 1 << 30
Tests = dict[str, list[str]]


class Bench:
    """The plugin. Its loop over the tests is a loop over mutants."""

    def __init__(self, requests: int, answers: int, tests: Tests) -> None:
        self._requests = requests
        self._answers = answers
        self._tests = tests
        self._calls: dict[str, list[tuple[float, pytest.Item, set[str]]]] = {}
        self._mutants: dict[str, list[Mutant]] = {}
        self._kills: Counter[str] = Counter()

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        from support import forkserver, runs  # not before pytest, which rewrites their assertions

        forkserver._import_all()
        setattr(runs, "run_forked", _run_forked)  # noqa: B010 - it is there under an imported name
        with os.fdopen(self._requests, "rb") as requests:
            for line in requests:
                request = json.loads(line)
                answer: object
                if "list" in request:
                    answer = [each.key for each in self._mutants_of(request["list"])]
                else:
                    mutant = self._mutants_of(request["module"])[request["number"]]
                    answer = self._try(session, mutant, request.get("tests"))
                os.write(self._answers, json.dumps(answer).encode() + b"\n")
        return True

    def _mutants_of(self, module: str) -> list[Mutant]:
        if module not in self._mutants:
            self._mutants[module] = list(mutants_of(module))
        return self._mutants[module]

    def _try(self, session: pytest.Session, mutant: Mutant, only: list[str] | None) -> dict[str, object]:
        if only is not None:
            items = [item for item in session.items if _is_of(item, only)]
            return _in_child(lambda tell: _first_failure(session, mutant, items, tell))
        if mutant.module not in self._calls:
            self._calls[mutant.module] = list(self._watch(session, mutant.module))
        chosen = [(cost, item) for cost, item, called in self._calls[mutant.module] if mutant.within in called]
        chosen.sort(key=lambda each: each[0] / (1 + self._kills[each[1].nodeid]))
        answer = _in_child(lambda tell: _first_failure(session, mutant, [item for _, item in chosen], tell))
        self._kills[str(answer["by"])] += 1
        return answer

    def _watch(self, session: pytest.Session, module: str) -> Iterator[tuple[float, pytest.Item, set[str]]]:
        """How long each test of this module takes, and which of its functions it calls. They all pass."""
        notes = take_notes(module)
        for item in session.items:
            if not _is_of(item, self._tests[module]):
                continue
            started = time.process_time() + sum(os.times()[2:4])
            called, failed = _watched(session, item, notes)
            if failed:
                raise AssertionError(f"{item.nodeid} fails on the code as it is")
            yield time.process_time() + sum(os.times()[2:4]) - started, item, called


def _is_of(item: pytest.Item, wanted: list[str]) -> bool:
    is_slow = any(item.get_closest_marker(name) for name in ("slow", "fuzz"))
    return not is_slow and any(item.nodeid.startswith(each) for each in wanted)


def _run(session: pytest.Session, item: pytest.Item) -> bool:
    """Whether it failed. What the session shares stays, servers above all."""
    reports = runtestprotocol(item, log=False, nextitem=session)  # type: ignore[arg-type]
    return any(report.failed for report in reports)


def _watched(session: pytest.Session, item: pytest.Item, notes: set[str]) -> tuple[set[str], bool]:
    """Which functions it called, in this process and in commands, and whether it failed."""
    notes.clear()
    with tempfile.TemporaryDirectory() as directory:
        _watcher.update(called=notes, directory=directory)
        try:
            failed = _run(session, item)
        finally:
            _watcher.clear()
        commands = [json.loads(path.read_text()) for path in Path(directory).iterdir()]
    return notes.union(*commands), failed


_watcher: dict[str, Any] = {}


def _first_failure(
    session: pytest.Session, mutant: Mutant, items: list[pytest.Item], tell: Callable[[dict[str, object]], None]
) -> None:
    try:
        put_in_place(mutant)
    except Exception as error:
        tell({"killed": True, "by": f"{type(error).__name__} at its import"})
        return
    for item in items:
        if _run(session, item):
            tell({"killed": True, "by": item.nodeid})
            return
    tell({"killed": False, "by": "", "tests": len(items)})


def _in_child(work: Callable[[Callable[[dict[str, object]], None]], None]) -> dict[str, object]:
    """What a child tells, which is killed when it takes too long, too much memory or too much disk."""
    reader, writer = os.pipe()
    home = tempfile.mkdtemp(prefix="mutant-")
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        os.close(reader)
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        resource.setrlimit(resource.RLIMIT_AS, (_LIMIT_BYTES, _LIMIT_BYTES))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_LIMIT_FILE_BYTES, _LIMIT_FILE_BYTES))
        signal.setitimer(signal.ITIMER_REAL, 0)
        tempfile.tempdir = home
        try:
            work(lambda answer: void(os.write(writer, json.dumps(answer).encode())))
        finally:
            os._exit(0)
    os.close(writer)
    timer = threading.Timer(_LIMIT_SECONDS, os.killpg, (pid, signal.SIGKILL))
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.setpgid(pid, pid)
    timer.start()
    try:
        told = os.read(reader, 1 << 16)
    finally:
        timer.cancel()
        os.close(reader)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        shutil.rmtree(home, ignore_errors=True)
    answer: dict[str, object] = json.loads(told) if told else {"killed": True, "by": NO_END}
    return answer


def void(_value: object) -> None:
    """Nothing."""


def _run_forked(
    code: str, arguments: list[str], environment: dict[str, str], directory: Path, timeout: float
) -> CompletedProcess[bytes]:
    """As the tests' own server of forks does it, but from this process, whose modules may be changed."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if pid == 0:
            request = {"code": code, "argv": arguments, "env": environment, "cwd": str(directory)}
            _become(request, [os.dup(out.fileno()), os.dup(err.fileno())])
        end = time.monotonic() + timeout
        status: int | None = None
        while status is None:
            found, raw = os.waitpid(pid, os.WNOHANG)
            if found:
                status = os.waitstatus_to_exitcode(raw)
            elif time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise TimeoutExpired(arguments, timeout)
            else:
                time.sleep(0.005)
        out.seek(0)
        err.seek(0)
        return CompletedProcess(arguments, status, out.read(), err.read())


def _become(request: dict[str, Any], files: list[int]) -> NoReturn:
    from support import forkserver

    status = 1
    try:
        streams = [open(number, mode) for number, mode in ((0, "r"), (1, "w"), (2, "w"))]  # noqa: SIM115 - they stay open to the end
        sys.stdin, sys.stdout, sys.stderr = streams
        signal.setitimer(signal.ITIMER_REAL, 0)
        forkserver._become(request, files)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        if _watcher:
            Path(_watcher["directory"], str(os.getpid())).write_text(json.dumps(sorted(_watcher["called"])))
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def main() -> None:
    requests, answers, tests = int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    for module in tests:
        importlib.import_module(module)
    files = sorted({each.partition("::")[0] for chosen in tests.values() for each in chosen})
    plain = [
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-q",
        "-o",
        "timeout=0",
        "-o",
        "tmp_path_retention_policy=none",
    ]
    with tempfile.TemporaryDirectory() as place:  # of its own: what others tidy away would fail all tests of a mutant
        plain += ["--basetemp", f"{place}/tests"]
        status = pytest.main([*plain, *files], plugins=[Bench(requests, answers, tests)])
    sys.exit(status)


if __name__ == "__main__":
    main()
