"""`list`: what is in the backup directory."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from safeharbor_backup.actions.catalog.choose import local_zone
from safeharbor_backup.actions.catalog.entries import is_from_future, read_catalog
from safeharbor_backup.actions.prune import plan_prune
from safeharbor_backup.archive.layout import time_in_name
from safeharbor_backup.cli.command import always, safeharbor_command
from safeharbor_backup.cli.databases_beside import describe_databases
from safeharbor_backup.cli.documents import ListDocument, ListedArchive
from safeharbor_backup.cli.table import Column, table_lines, terminal_width
from safeharbor_backup.errors import ExitStatus
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.text import ascii_safe, iso_time, plural, show_bytes, show_duration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from safeharbor_backup.actions.catalog.entries import Catalog, CatalogEntry
    from safeharbor_backup.actions.catalog.retention import Verdict
    from safeharbor_backup.cli.output import Output
    from safeharbor_backup.cli.run import Run
    from safeharbor_backup.settings.model import Settings


@safeharbor_command(
    "List the archives in BACKUP_DIR: when taken, how large, what is inside, what retention will do with each and why. "
    "Reads only each archive's manifest; `verify` is the proof.",
    ExitStatus.DONE,
    ExitStatus.USAGE,
    ExitStatus.STORAGE,
    only_prints=always,
)
@click.option("--utc", is_flag=True, help="Show times in UTC, as in the names, instead of local ones.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
def command(run: Run, *, utc: bool, as_json: bool) -> None:
    """Parse, read the directory, render."""
    settings = run.read_settings(quiet=True)
    catalog = read_catalog(settings.backup_dir)
    verdicts, warnings = _judge(settings)
    if as_json:
        run.output.document(_document(catalog, verdicts, warnings))
    else:
        _print(run.output, catalog, verdicts, warnings, UTC if utc else local_zone(settings))


def _judge(settings: Settings) -> tuple[dict[str, Verdict], list[str]]:
    problems = settings.problems_in(Concern.RETENTION, Concern.SCHEDULE)
    if problems:
        return {}, [f"retention is not known: {problem}" for problem in problems]
    plan = plan_prune(settings)
    return {verdict.name: verdict for verdict in plan.verdicts}, list(plan.warnings)


def _print(
    output: Output, catalog: Catalog, verdicts: dict[str, Verdict], warnings: list[str], zone: tzinfo | None
) -> None:
    if catalog.archives:
        for line in table_lines(_columns(catalog.archives, verdicts, datetime.now(UTC), zone), terminal_width()):
            output.result(line)
    else:
        output.result(f"There is no archive in {catalog.directory}.")
    for entry in catalog.archives:
        if entry.problem:
            output.result(f"{entry.name}: {entry.problem}")
    if catalog.unfinished:
        output.result(f"unfinished, being written or left by a killed run: {', '.join(catalog.unfinished)}")
    if catalog.foreign:
        others = ", ".join(map(ascii_safe, catalog.foreign[:10]))
        output.result(f"{plural(len(catalog.foreign), 'other file')}, never touched: {others}")
    for warning in warnings:
        output.warning(warning)


def _columns(
    archives: Sequence[CatalogEntry], verdicts: dict[str, Verdict], now: datetime, zone: tzinfo | None
) -> list[Column]:
    """In the order of need: those at the end are the first to go where there is no place."""
    manifests = [entry.manifest for entry in archives]
    beside = [
        ", ".join(f"{each.name}: {each.rows:,}" for each in manifest.databases) if manifest is not None else ""
        for manifest in manifests
    ]
    return [
        Column(f"time ({'UTC' if zone is UTC else 'local'})", _show_times(archives, zone)),
        Column("age", [_age(entry, now) for entry in archives], is_number=True),
        Column("size", [show_bytes(entry.size) for entry in archives], is_number=True),
        Column("rows", ["?" if each is None else f"{each.rows:,}" for each in manifests], is_number=True),
        *([Column("other rows", beside)] if any(beside) else []),
        Column("uploads", ["?" if each is None else f"{each.upload_files:,}" for each in manifests], is_number=True),
        Column("since previous", [_change(archives[position:]) for position in range(len(archives))]),
        Column("state", [entry.state.value for entry in archives]),
        Column("retention", [_decided(verdicts.get(entry.name)) for entry in archives]),
        Column("archive", [entry.name for entry in archives]),
    ]


def _show_times(archives: Sequence[CatalogEntry], zone: tzinfo | None) -> list[str]:
    """The times in their names, by which every command finds them; with seconds where two have the same minute."""
    times = [(time_in_name(entry.name) or entry.taken_at).astimezone(zone) for entry in archives]
    minutes = [f"{time:%Y-%m-%d %H:%M}" for time in times]
    return minutes if len(set(minutes)) == len(minutes) else [f"{time:%Y-%m-%d %H:%M:%S}" for time in times]


def _age(entry: CatalogEntry, now: datetime) -> str:
    return "future" if is_from_future(entry, now) else show_duration(max((now - entry.taken_at).total_seconds(), 0))


def _change(archives: Sequence[CatalogEntry]) -> str:
    """How the first of them differs from the next one that records what is in it and is of the same database."""
    now, *older = (entry.manifest for entry in archives)
    before = next((each for each in older if now and each and each.database == now.database), None)
    if now is None or before is None:
        return ""
    gone = before.tables.keys() - now.tables.keys()
    changes = [
        f"-{plural(len(gone), 'table')}" if gone else "",
        _short(now.rows - before.rows, "row"),
        _short(now.upload_files - before.upload_files, "file"),
    ]
    return " ".join(list(filter(None, changes))[:2]) or "same"


def _short(number: int, noun: str) -> str:
    """A difference in a few characters, such as `-9,999 rows`, `+1 file` or `+4.5M rows`; "" for none."""
    for least, size, unit in ((10**6, 10**6, "M"), (10**4, 1000, "k")):
        if abs(number) >= least:
            return f"{number / size:+.1f}{unit} {noun}s"
    return f"{number:+,} {noun}{'' if abs(number) == 1 else 's'}" if number else ""


def _decided(verdict: Verdict | None) -> str:
    return "" if verdict is None else f"{'keep' if verdict.keep else 'delete'}: {', '.join(verdict.reasons)}"


def _document(catalog: Catalog, verdicts: dict[str, Verdict], warnings: list[str]) -> ListDocument:
    return ListDocument(
        directory=str(catalog.directory),
        archives=tuple(_archive(entry, verdicts.get(entry.name)) for entry in catalog.archives),
        unfinished=tuple(catalog.unfinished),
        foreign=tuple(catalog.foreign),
        warnings=tuple(warnings),
    )


def _archive(entry: CatalogEntry, verdict: Verdict | None) -> ListedArchive:
    manifest = entry.manifest
    return ListedArchive(
        name=entry.name,
        taken_at=iso_time(entry.taken_at),
        modified_at=iso_time(entry.candidate.modified_at),
        size_bytes=entry.size,
        state=entry.state.value,
        problem=entry.problem,
        tables=None if manifest is None else len(manifest.tables),
        rows=None if manifest is None else manifest.rows,
        upload_files=None if manifest is None else manifest.upload_files,
        upload_bytes=None if manifest is None else manifest.upload_bytes,
        warnings=() if manifest is None else manifest.warnings,
        keep=None if verdict is None else verdict.keep,
        reasons=() if verdict is None else tuple(verdict.reasons),
        codes=() if verdict is None else tuple(reason.code.value for reason in verdict.because),
        databases=() if manifest is None else describe_databases(manifest.databases),
    )
