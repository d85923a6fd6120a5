"""Archives that were there and are gone are a failure, whoever remembers them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.actions.status.document import describe_status
from safeharbor_backup.actions.status.gone import find_gone
from safeharbor_backup.actions.status.health import Code, Health
from safeharbor_backup.actions.status.published_file import publish_status
from safeharbor_backup.actions.status.run import read_status
from safeharbor_backup.state.history import Outcome, append_outcome
from safeharbor_backup.web.page import render_page
from support.archives import put_archive

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings

NOW = datetime.now(UTC).replace(microsecond=0)


def backed_up(settings: Settings, count: int = 3) -> list[Path]:
    paths = []
    for number in range(count):
        moment = NOW - timedelta(hours=count - number)
        paths.append(put_archive(settings.backup_dir, moment))
        append_outcome(settings.backup_dir, Outcome("backup", moment, 1, 0, "", paths[-1].name))
    return paths


def assert_gone(settings: Settings, count: int) -> None:
    status = read_status(settings)
    assert (status.health, status.is_healthy) == (Health.FAILED, False)
    assert status.findings[0].code is Code.GONE
    assert f"{count} archives were here on " in status.reasons[0]
    assert "are gone" in status.reasons[0]
    page = render_page(describe_status(status, settings), NOW)
    assert "The backups are gone." in page
    assert f"{count} archives were here on " in page


def test_archives_that_the_history_knows_are_missed(settings: Settings) -> None:
    for path in backed_up(settings):
        path.unlink()

    assert_gone(settings, 3)


def test_archives_that_were_pruned_are_not_missed(settings: Settings) -> None:
    first, *_ = backed_up(settings, 4)
    append_outcome(settings.backup_dir, Outcome("prune", NOW, 1, 0, "", None, (), {"deleted": [first.name]}))
    for path in settings.backup_dir.glob("*.tar"):
        path.unlink()

    assert_gone(settings, 3)


def test_an_empty_mount_point_is_no_new_directory_for_whoever_has_the_status_file(
    settings: Settings, tmp_path: Path
) -> None:
    settings = replace(settings, status_file=tmp_path / "status.json")
    backed_up(settings)
    publish_status(settings, tmp_path / "status.json")
    (tmp_path / "empty").mkdir()
    unmounted = replace(settings, backup_dir=tmp_path / "empty")

    for _ in range(3):  # it is not forgotten by being published
        assert_gone(unmounted, 3)
        publish_status(unmounted, tmp_path / "status.json")

    put_archive(tmp_path / "empty", NOW)
    publish_status(unmounted, tmp_path / "status.json")
    assert json.loads((tmp_path / "status.json").read_text())["gone"] is None
    assert read_status(unmounted).health is Health.GOOD


def test_a_first_day_is_a_first_day(settings: Settings, tmp_path: Path) -> None:
    settings = replace(settings, status_file=tmp_path / "status.json")
    append_outcome(settings.backup_dir, Outcome("backup", NOW, 1, 6, "no server"))
    publish_status(settings, tmp_path / "status.json")

    assert read_status(settings).gone is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"newest": {}}', b'{"newest": 1, "archives": "x"}', b"\xff", b'{"gone": 7}']
)
def test_a_status_file_that_is_none_tells_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "status.json").write_bytes(content)

    assert find_gone((), tmp_path / "status.json") is None
    assert find_gone((), tmp_path / "missing") is None
