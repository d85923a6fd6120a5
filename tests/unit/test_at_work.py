from __future__ import annotations

import os
import select
from datetime import UTC, datetime
from pathlib import Path

import pytest

from safeharbor_backup.errors import TookTooLong
from safeharbor_backup.state.at_work import AtWork, find_dead, mark_work, settle_dead
from safeharbor_backup.system.signals import Deadline, signals_held

RUN = AtWork("backup", "6f2c1b0e-9d3a-4c55-8f21-2b7d9c0e4a11", datetime(2026, 3, 1, 3, tzinfo=UTC))


def marked_and_gone(directory: Path) -> None:
    """What a process leaves that marked its work and died."""
    pid = os.fork()
    if pid == 0:
        mark_work(directory, RUN)
        os._exit(0)
    os.waitpid(pid, 0)


def test_a_run_that_died_is_found_until_one_has_settled_it(tmp_path: Path) -> None:
    assert (find_dead(tmp_path), settle_dead(tmp_path)) == ([], [])
    marked_and_gone(tmp_path)

    assert find_dead(tmp_path) == [RUN]
    assert settle_dead(tmp_path) == [RUN]
    assert (find_dead(tmp_path), settle_dead(tmp_path)) == ([], [])


def test_a_run_at_work_is_not_dead_and_one_that_ended_is_forgotten(tmp_path: Path) -> None:
    mark = mark_work(tmp_path, RUN)
    assert mark is not None
    assert find_dead(tmp_path) == []

    mark.remove()

    assert settle_dead(tmp_path) == []
    assert os.listdir(tmp_path / ".safeharbor") == []


def test_one_that_ends_while_it_is_looked_at_did_not_die(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = mark_work(tmp_path, RUN)
    assert mark is not None
    real = os.open

    def opened(path: Path, flags: int) -> int:
        descriptor = real(path, flags)
        mark.remove()
        return descriptor

    monkeypatch.setattr(os, "open", opened)

    assert find_dead(tmp_path) == []


def test_a_mark_of_anything_else_says_nothing(tmp_path: Path) -> None:
    marked_and_gone(tmp_path)
    (name,) = os.listdir(tmp_path / ".safeharbor")
    (tmp_path / ".safeharbor" / name).write_bytes(b"{}")
    os.mkfifo(tmp_path / ".safeharbor" / name.replace("6f2c", "0000"))

    assert settle_dead(tmp_path) == []


def test_a_deadline_waits_for_what_must_not_be_left_half_done() -> None:
    deadline = Deadline(0.05)
    deadline.start()
    with pytest.raises(TookTooLong, match="BACKUP_MAX_RUNTIME"), signals_held():
        assert select.select([], [], [], 0.2) == ([], [], [])
    deadline.call_off()
    deadline.call_off()


def test_no_deadline_is_none() -> None:
    Deadline(None).start()
