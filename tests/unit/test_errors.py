from __future__ import annotations

import errno
import signal

import pytest

from safeharbor_backup.errors import (
    ArchiveRejected,
    DatabaseUnavailable,
    ExitStatus,
    Interrupted,
    LockHeld,
    SafeHarborError,
    SettingsInvalid,
    StorageUnavailable,
    ToolFailed,
    translate_os_error,
)
from safeharbor_backup.postgres.errors import trouble_of


def test_the_exit_statuses_are_those_that_scripts_rely_on() -> None:
    assert {status.name: status.value for status in ExitStatus} == {
        "DONE": 0,
        "FAILED": 1,
        "USAGE": 2,
        "WARNINGS": 3,
        "LOCKED": 4,
        "REJECTED": 5,
        "DATABASE": 6,
        "STORAGE": 7,
        "CANNOT_RESTORE": 8,
        "RESTORE_PENDING": 9,
        "HANGUP": 129,
        "INTERRUPTED": 130,
        "TERMINATED": 143,
        "CUT_OFF": 141,
    }


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SafeHarborError("x"), 1),
        (ToolFailed("x"), 1),
        (SettingsInvalid(["x"]), 2),
        (LockHeld("x"), 4),
        (ArchiveRejected("x"), 5),
        (DatabaseUnavailable("x"), 6),
        (StorageUnavailable("x"), 7),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_error_has_its_exit_status(error: SafeHarborError, status: int) -> None:
    assert error.exit_status == status


@pytest.mark.parametrize(("number", "status"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_with_the_status_that_shells_expect(number: signal.Signals, status: int) -> None:
    assert Interrupted(number).exit_status == status
    assert number.name in str(Interrupted(number))


def test_no_handler_for_errors_swallows_an_interruption() -> None:
    assert not issubclass(Interrupted, Exception)


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (errno.ENOSPC, 7),
        (errno.EDQUOT, 7),
        (errno.EACCES, 7),
        (errno.EPERM, 7),
        (errno.EROFS, 7),
        (errno.EFBIG, 7),
        (errno.EIO, 1),
        (errno.EMFILE, 1),
        (errno.ENOENT, 1),
    ],
    ids=lambda number: errno.errorcode.get(number, str(number)),
)
def test_an_operating_systems_refusal_has_the_documented_status(number: int, status: int) -> None:
    error = translate_os_error(OSError(number, "refused", "/backups/x"), "writing the archive")

    assert error.exit_status == status
    assert "writing the archive failed (/backups/x): refused" in error.message


def test_no_space_has_another_remedy_than_no_permission() -> None:
    assert "space" in translate_os_error(OSError(errno.ENOSPC, "x"), "y").hint
    assert "user" in translate_os_error(OSError(errno.EACCES, "x"), "y").hint


def test_a_file_name_of_odd_bytes_can_be_told() -> None:
    assert "\\xff" in translate_os_error(OSError(errno.EIO, "x", b"/a/\xff"), "y").message


def test_all_settings_that_cannot_be_used_are_named_at_once() -> None:
    error = SettingsInvalid(["A: expected b", "C: expected d"])

    assert error.message.splitlines() == ["2 settings cannot be used:", "  A: expected b", "  C: expected d"]
    assert SettingsInvalid(["A"]).message.startswith("1 setting cannot")


def test_a_rejection_without_a_list_has_its_message_as_the_only_problem() -> None:
    assert ArchiveRejected("cut").problems == ("cut",)
    assert ArchiveRejected("cut", problems=["a", "b"]).problems == ("a", "b")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("pg_restore: error: could not read from input file: Input/output error", errno.EIO),
        (
            "pg_restore: while x\npg_restore: error: could not create worker process: Cannot allocate memory",
            errno.ENOMEM,
        ),
        ('pg_restore: error: COPY failed for table "t": FEHLER:  could not read block 3: Input/output error', None),
        ("pg_restore: error: could not read from input file: end of file", None),
        ("DETAIL:  somebody's row says: Input/output error", None),
        ("somebody's row says: Input/output error", None),
    ],
)
def test_what_a_tool_lacks_is_told_from_what_a_server_says(said: str, code: int | None) -> None:
    found = trouble_of(said)

    assert (found.errno if found is not None else None) == code
