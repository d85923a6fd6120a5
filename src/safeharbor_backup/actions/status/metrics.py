"""The state of the backups as metrics, in a file that a textfile collector reads.

The metrics are gathered as data, and put into Prometheus' format by its own library, which is imported when a
file is to be written. Every sample has the file's name, since two files may not have the same series.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from safeharbor_backup.actions.alerts.deliveries import NOTIFY, PING, find_undelivered, newest_of
from safeharbor_backup.actions.catalog.entries import State
from safeharbor_backup.actions.offsite import fresh_as_of
from safeharbor_backup.actions.status.run import read_status
from safeharbor_backup.errors import SafeHarborError
from safeharbor_backup.system.small_file import replace_small_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from safeharbor_backup.actions.catalog.entries import CatalogEntry
    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.state.history import Outcome
    from safeharbor_backup.state.offsite import OffsiteCopy

MISSING = "prometheus-client is not installed; type: pip install prometheus-client"
_MODE = 0o644  # the collector is another user
_COMMANDS = ("backup", "verify", "drill", "prune", "restore")
_STATES = {
    State.COMPLETE: "complete",
    State.DAMAGED: "damaged",
    State.UNREADABLE: "unreadable",
    State.UNVERIFIED: "unverified",
}


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; `samples` has a value for each value of its label, or one under the empty string if it has none."""

    name: str
    meaning: str
    samples: Mapping[str, float]
    label: str = ""


def publish_metrics(settings: Settings, path: Path) -> None:
    """Put the metrics into the file at `path`, whole and readable for everybody.

    If the backup directory cannot be read, what is there stays, and its timestamp gets old.
    Raises SafeHarborError, OSError.
    """
    text = render_metrics(gather_metrics(settings, datetime.now(UTC)), path.stem)
    replace_small_file(path, text, mode=_MODE)


def render_metrics(metrics: Sequence[Metric], name: str) -> bytes:
    """The metrics in Prometheus' text format, with the label `name`. Raises SafeHarborError without the extra."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.core import GaugeMetricFamily
        from prometheus_client.registry import Collector
    except ImportError:
        raise SafeHarborError(MISSING) from None

    class Gathered(Collector):
        """Plain samples: the library's own gauges keep theirs in files if an app's environment asks for that."""

        def collect(self) -> Iterator[GaugeMetricFamily]:
            for metric in metrics:
                labels = ["name", *filter(None, [metric.label])]
                family = GaugeMetricFamily(f"safeharbor_{metric.name}", metric.meaning, labels=labels)
                for value, number in metric.samples.items():
                    family.add_metric([name, *([value] if metric.label else [])], number)
                yield family

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Gathered())
    return bytes(generate_latest(registry))


def gather_metrics(settings: Settings, now: datetime) -> list[Metric]:
    """All metrics, as they are now. Raises StorageUnavailable if the backup directory cannot be read."""
    status = read_status(settings, now=now)
    history = status.history
    states = Counter(entry.state for entry in status.archives)
    metrics = [
        _one("published_timestamp_seconds", "When this file was written", now.timestamp()),
        _one("healthy", "Whether status --healthcheck ends with 0", float(status.is_healthy)),
        _one(
            "interrupted_restore",
            "Whether a restore was interrupted and no backup is taken until it is settled",
            float(status.interrupted is not None),
        ),
        _one("max_age_seconds", "How old the newest archive may be", settings.max_age_seconds),
        Metric(
            "archives",
            "Archives by state, as a quick look at each shows",
            {_STATES[each]: states[each] for each in State},
            "state",
        ),
    ]
    if status.room.free is not None:
        metrics.append(_one("free_bytes", "Free space for archives", float(status.room.free)))
    if status.room.fits is not None:
        metrics.append(_one("fitting_archives", "How many more archives fit", float(status.room.fits)))
    if status.newest is not None and status.newest.manifest is not None:
        metrics += _describe_archive(status.newest, status.newest.manifest)
    metrics += _describe_copies(status.copies or (), [entry.taken_at for entry in status.archives])
    metrics += _describe_runs(history)
    undelivered = {outcome.command for outcome in find_undelivered(history, settings.notify_urls, settings.ping_url)}
    samples = {way: float(way in undelivered) for way in (NOTIFY, PING)}
    metrics.append(Metric("undelivered", "Whether the newest message or ping was not delivered", samples, "way"))
    return metrics


def _describe_archive(entry: CatalogEntry, manifest: Manifest) -> list[Metric]:
    # nothing that a manifest says may harm a run
    shared_bytes = manifest.shared_size if manifest.shared_size <= entry.size else 0
    values = {
        "timestamp_seconds": ("when it was taken", entry.taken_at.timestamp()),
        "size_bytes": ("its size", entry.size),
        "shared_bytes": ("what it shares with the previous archive", shared_bytes),
        "written_bytes": ("what was written for it", entry.size - shared_bytes),
        "tables": ("its tables", len(manifest.tables)),
        "rows": ("its rows", manifest.rows),
        "upload_files": ("its uploads", manifest.upload_files),
        "upload_bytes": ("the size of its uploads", manifest.upload_bytes),
        "warnings": ("its warnings", len(manifest.warnings)),
    }
    return [
        _one(f"newest_archive_{key}", f"Newest complete archive: {meaning}", float(value))
        for key, (meaning, value) in values.items()
    ]


def _describe_copies(copies: Sequence[OffsiteCopy], taken: Sequence[datetime]) -> Iterator[Metric]:
    made = {each.name: fresh.timestamp() for each in copies if (fresh := fresh_as_of(each, taken)) is not None}
    drilled = {each.name: each.drilled_at.timestamp() for each in copies if each.drilled_at is not None}
    yield Metric(
        "offsite_copy_timestamp_seconds",
        "When a copy elsewhere was last made, or when its newest archive was taken if that was old by then",
        made,
        "copy",
    )
    meaning = "When an archive that was fetched from a copy elsewhere last restored in a drill"
    yield Metric("offsite_drill_timestamp_seconds", meaning, drilled, "copy")


def _describe_runs(history: Sequence[Outcome]) -> Iterator[Metric]:
    """How the newest run of each command ended, as far as the history goes back."""
    newest = {command: run for command in _COMMANDS if (run := newest_of(command, history)) is not None}
    good = {}
    for run in history:
        if run.command in _COMMANDS and run.is_success and not run.details.get("quick"):
            good[run.command] = run

    def each(runs: Mapping[str, Outcome], name: str, meaning: str, values: Sequence[float]) -> Metric:
        return Metric(name, meaning, dict(zip(runs, values, strict=True)), "command")

    runs = newest.values()
    yield each(newest, "last_run_timestamp_seconds", "Newest run: when it ended", [_ended(run) for run in runs])
    yield each(newest, "last_run_duration_seconds", "Newest run: how long it took", [run.seconds for run in runs])
    yield each(
        newest,
        "last_run_exit_status",
        "Newest run: its exit status; 0 and 3 are good",
        [run.exit_status for run in runs],
    )
    yield each(newest, "last_run_warnings", "Newest run: how many warnings it had", [len(run.warnings) for run in runs])
    meaning = "When a run last ended with 0 or 3; of verify, a full one"
    yield each(good, "last_success_timestamp_seconds", meaning, [_ended(run) for run in good.values()])
    if "backup" in good:
        seconds = good["backup"].details.get("seconds")
        phases = seconds if isinstance(seconds, dict) else {}
        samples = {str(phase): float(value) for phase, value in phases.items() if isinstance(value, int | float)}
        yield Metric("backup_phase_duration_seconds", "The phases of the newest good backup", samples, "phase")


def _ended(run: Outcome) -> float:
    return run.started_at.timestamp() + run.seconds


def _one(name: str, meaning: str, value: float) -> Metric:
    return Metric(name, meaning, {"": value})
