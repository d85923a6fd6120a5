from __future__ import annotations

import errno
import os
import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import html5lib
import pytest

from safeharbor_backup.cli.main import cli
from support.archives import put_archive
from support.commands import cli_runner

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from safeharbor_backup.settings.model import Settings


@pytest.fixture
def archive(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of an hour ago, in the directory that the environment names."""
    for name in list(os.environ):
        if name.startswith("BACKUP_") or name in ("DATABASE_URL", "UPLOAD_DIR", "SECRET_KEY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BACKUP_DIR", str(settings.backup_dir))
    monkeypatch.setenv("BACKUP_DATABASE_URL", "postgresql://app:s3cr3t@db.internal:1/reef")
    monkeypatch.setenv("SECRET_KEY", "hush-hush")
    return put_archive(settings.backup_dir, datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1))


def run(*arguments: str) -> Result:
    result = cli_runner().invoke(cli, list(arguments), prog_name="safeharbor")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_a_report_is_a_page_of_what_is_there_for_its_owner_only(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.html"

    result = run("report", "--html", str(path))

    assert result.exit_code == 0
    assert result.stdout.startswith(f"{path} (")
    page = path.read_text()
    html5lib.HTMLParser(strict=True).parse(page)
    assert "1 hour ago" in page or "60 minutes ago" in page
    assert f"safeharbor restore --from {archive} --dry-run" in page
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not {"s3cr3t", "hush-hush", "db.internal"} & set(page.split())
    assert "s3cr3t" not in page


def test_an_older_report_is_replaced_and_what_a_killed_one_left_goes(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    left = tmp_path / "report.html.0a1b2c3d.tmp"
    left.write_text("half")
    os.utime(left, (0, 0))

    assert run("report", "--html", str(path)).exit_code == 0

    assert path.read_text().startswith("<!doctype html>")
    assert sorted(each.name for each in tmp_path.glob("report*")) == ["report.html"]


def test_a_report_can_go_to_the_standard_output(archive: Path) -> None:
    result = run("report", "--html", "-")

    assert result.exit_code == 0
    assert result.stdout.startswith("<!doctype html>")
    assert result.stdout.endswith("</html>\n")


def test_a_report_is_written_of_backups_that_are_bad_too(archive: Path, tmp_path: Path) -> None:
    archive.unlink()
    path = tmp_path / "report.html"

    assert run("report", "--html", str(path)).exit_code == 0

    assert "No backup yet." in path.read_text()


@pytest.mark.parametrize(
    "name", ["report", "safeharbor-backup-2026-05-07T03-00-00Z.tar", ".html", ".x.html", "a.html/"]
)
def test_a_report_replaces_nothing_but_a_page(archive: Path, tmp_path: Path, name: str) -> None:
    result = run("report", "--html", f"{tmp_path}/{name}")

    assert result.exit_code == 2
    assert "neither - nor a file whose name ends with .html" in result.stderr
    assert not list(tmp_path.glob("report*"))


def test_a_report_goes_into_a_directory_that_is_there(archive: Path, tmp_path: Path) -> None:
    result = run("report", "--html", str(tmp_path / "missing" / "report.html"))

    assert result.exit_code == 2
    assert f"there is no directory {tmp_path}/missing" in " ".join(result.stderr.split())


def test_where_no_report_can_be_written_the_old_one_stays(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def refuse(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        result = run("report", "--html", str(path))

    assert result.exit_code == 7
    assert str(path) in result.stderr
    assert path.read_text() == "old"
    assert not list(tmp_path.glob("*.tmp"))


def test_without_a_readable_directory_there_is_no_report(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_DIR", str(tmp_path / "elsewhere"))

    result = run("report", "--html", str(tmp_path / "report.html"))

    assert result.exit_code == 7
    assert not (tmp_path / "report.html").exists()


def test_a_report_must_be_told_where_to_go(archive: Path) -> None:
    assert run("report").exit_code == 2
