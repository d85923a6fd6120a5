from __future__ import annotations

import os
import stat
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from safeharbor_backup.actions.status.metrics import MISSING, gather_metrics, publish_metrics, render_metrics
from safeharbor_backup.state.history import Outcome, append_outcome
from safeharbor_backup.system.lock import directory_lock
from support.archives import Facts, put_archive
from support.commands import run_inside

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
TAKEN = NOW - timedelta(hours=9)
Samples = dict[tuple[str, str], float]


def gathered(settings: Settings, now: datetime = NOW) -> Samples:
    """Each sample by its metric and the value of its label."""
    return {
        (metric.name, value): number
        for metric in gather_metrics(settings, now)
        for value, number in metric.samples.items()
    }


def read(path: Path) -> Samples:
    """The same of a file, as the library reads it; every sample has the file's name."""
    samples = {}
    for family in text_string_to_metric_families(path.read_text()):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("name") == path.stem
            samples[sample.name.removeprefix("safeharbor_"), next(iter(labels.values()), "")] = sample.value
    return samples


def test_the_newest_archive_is_told(settings: Settings) -> None:
    put_archive(settings.backup_dir, TAKEN - timedelta(days=1), facts=Facts(tables={"public.a": 1}))
    newest = put_archive(
        settings.backup_dir, TAKEN, facts=Facts(tables={"public.a": 5, "public.b": 2}, warnings=("w",))
    )

    samples = gathered(settings)

    of_newest = {
        name.removeprefix("newest_archive_"): value for (name, _), value in samples.items() if "newest" in name
    }
    size = newest.stat().st_size
    assert of_newest == {
        "timestamp_seconds": TAKEN.timestamp(),
        "size_bytes": size,
        "shared_bytes": 0,
        "written_bytes": size,
        "tables": 2,
        "rows": 7,
        "upload_files": 0,
        "upload_bytes": 0,
        "warnings": 1,
    }
    assert samples["archives", "complete"] == 2
    assert samples["healthy", ""] == 1
    assert samples["max_age_seconds", ""] == 26 * 3600
    assert samples["published_timestamp_seconds", ""] == NOW.timestamp()
    assert samples["free_bytes", ""] > 0
    assert samples["fitting_archives", ""] > 0


def test_an_old_one_is_unhealthy_and_a_damaged_one_is_counted(settings: Settings) -> None:
    put_archive(settings.backup_dir, TAKEN - timedelta(days=3))
    damaged = put_archive(settings.backup_dir, TAKEN)
    os.truncate(damaged, 5000)

    samples = gathered(settings)

    assert samples["healthy", ""] == 0
    assert samples["archives", "damaged"] == 1
    assert samples["newest_archive_timestamp_seconds", ""] == (TAKEN - timedelta(days=3)).timestamp()


def test_how_runs_ended_is_told_by_command(settings: Settings) -> None:
    good = Outcome("backup", TAKEN, 20.0, 3, warnings=("w", "x"), details={"seconds": {"dump": 12.5, "verify": 2}})
    for outcome in (
        good,
        replace(good, started_at=NOW, seconds=1.0, exit_status=6, warnings=(), details={}),
        Outcome("verify", TAKEN, 4.0, 0, details={"quick": False}),
        Outcome("verify", NOW, 0.1, 0, details={"quick": True}),
        Outcome("notify", NOW, 0.1, 1, "no"),
    ):
        append_outcome(settings.backup_dir, outcome)

    samples = gathered(replace(settings, notify_urls=("json://x/",), ping_url=None))

    assert samples["last_run_exit_status", "backup"] == 6
    assert samples["last_run_timestamp_seconds", "backup"] == NOW.timestamp() + 1
    assert samples["last_run_duration_seconds", "backup"] == 1
    assert samples["last_run_warnings", "backup"] == 0
    assert samples["last_success_timestamp_seconds", "backup"] == TAKEN.timestamp() + 20
    assert samples["last_success_timestamp_seconds", "verify"] == TAKEN.timestamp() + 4  # a quick one proves little
    assert samples["last_run_timestamp_seconds", "verify"] > NOW.timestamp()
    assert samples["backup_phase_duration_seconds", "dump"] == 12.5
    assert ("last_run_exit_status", "notify") not in samples
    assert samples["undelivered", "notify"] == 1
    assert samples["undelivered", "ping"] == 0


def test_without_anything_there_is_a_file_all_the_same(settings: Settings, tmp_path: Path) -> None:
    publish_metrics(settings, tmp_path / "reef.prom")

    samples = read(tmp_path / "reef.prom")
    assert samples["archives", "complete"] == 0
    assert ("newest_archive_timestamp_seconds", "") not in samples


@pytest.fixture
def published(configured: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the metrics are to be published; the directory has one archive of an hour ago."""
    path = tmp_path / "textfile" / "reef.prom"
    path.parent.mkdir()
    monkeypatch.setenv("BACKUP_METRICS_FILE", str(path))
    return path


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["prune"], 0),
        (["verify", "--latest"], 0),
        (["backup"], 2),  # the uploads are missing
        (["restore", "--from", "/etc/hostname", "--yes"], 5),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else str(value),
)
def test_a_run_renews_them_with_its_own_end(published: Path, arguments: list[str], status: int) -> None:
    assert run_inside(*arguments).exit_code == status

    assert read(published)["last_run_exit_status", arguments[0]] == status


def test_a_healthcheck_renews_them_and_other_looks_do_not(published: Path, settings: Settings) -> None:
    for arguments in (["status"], ["list"], ["prune", "--dry-run"]):
        run_inside(*arguments)
    assert os.listdir(published.parent) == []

    run_inside("status", "--healthcheck")
    first = read(published)
    with directory_lock(settings.backup_dir):
        run_inside("status", "--healthcheck")

    assert first["healthy", ""] == 1
    assert read(published)["published_timestamp_seconds", ""] > first["published_timestamp_seconds", ""]


def test_every_user_may_read_it_and_nothing_else_stays(published: Path) -> None:
    before = os.umask(0o077)
    try:
        run_inside("prune")
        run_inside("prune")
    finally:
        os.umask(before)

    assert stat.S_IMODE(published.stat().st_mode) == 0o644
    assert os.listdir(published.parent) == ["reef.prom"]
    assert "s3cr3t" not in published.read_text()
    assert "db.internal" not in published.read_text()


def test_if_it_cannot_be_written_one_warning_says_so_and_the_status_stays(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_METRICS_FILE", str(published.parent / "missing" / "reef.prom"))

    result = run_inside("prune")

    assert result.exit_code == 0
    assert result.stderr.count("Warning: ") == result.stderr.count("\n") == 1
    assert "missing/reef.prom was not renewed: " in result.stderr


@pytest.mark.parametrize("name", ["reef", "reef.txt", ".reef.prom", "x.tar"])
def test_a_name_that_could_be_something_else_is_refused(
    published: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("BACKUP_METRICS_FILE", str(published.parent / name))

    result = run_inside("prune")

    assert result.exit_code == 0
    assert "the state was not published: BACKUP_METRICS_FILE=" in result.stderr
    assert os.listdir(published.parent) == []


def test_without_the_extra_a_warning_names_it(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    result = run_inside("prune")

    assert result.exit_code == 0
    assert f"was not renewed: {MISSING}" in result.stderr
    assert "pip install prometheus-client" in MISSING


def test_an_app_that_collects_from_many_processes_gets_no_files_from_us(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    before = sorted(os.listdir(tmp_path))

    run_inside("prune")

    assert sorted(os.listdir(tmp_path)) == before


def test_a_name_with_quotes_is_escaped(settings: Settings) -> None:
    text = render_metrics(gather_metrics(settings, NOW), 'a"b\\c')

    assert b'{name="a\\"b\\\\c"}' in text
