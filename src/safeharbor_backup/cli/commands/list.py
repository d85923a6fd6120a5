"""`list`: what is in the backup directory."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from safeharbor_backup.actions.catalog.entries import is_from_future, read_catalog
from safeharbor_backup.actions.prune import plan_prune
from safeharbor_backup.cli.command import always, safeharbor_command
from safeharbor_backup.cli.json_log import show_warning
from safeharbor_backup.cli.settings_source import current_settings
from safeharbor_backup.errors import ExitStatus
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.text import iso_time, plural, show_bytes, show_duration

if TYPE_CHECKING:
    from safeharbor_backup.actions.catalog.entries import Catalog, CatalogEntry
    from safeharbor_backup.actions.catalog.retention import Verdict
    from safeharbor_backup.settings.model import Settings


@safeharbor_command(
    "List the archives in BACKUP_DIR: when taken, how large, what is inside, what retention will do with each and why. "
    "Reads only each archive's manifest; `verify` is the proof.",
    ExitStatus.DONE,
    ExitStatus.USAGE,
    ExitStatus.STORAGE,
    only_prints=always,
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
def command(*, as_json: bool) -> None:
    """Parse, read the directory, render."""
    settings = current_settings(quiet=True)
    catalog = read_catalog(settings.backup_dir)
    verdicts, warnings = _judge(settings)
    if as_json:
        click.echo(json.dumps(_document(catalog, verdicts, warnings), indent=2))
    else:
        _print(catalog, verdicts, warnings)


def _judge(settings: Settings) -> tuple[dict[str, Verdict], list[str]]:
    problems = settings.problems_in(Concern.RETENTION, Concern.SCHEDULE)
    if problems:
        return {}, [f"retention is not known: {problem}" for problem in problems]
    plan = plan_prune(settings)
    return {verdict.name: verdict for verdict in plan.verdicts}, list(plan.warnings)


def _print(catalog: Catalog, verdicts: dict[str, Verdict], warnings: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    now = datetime.now(UTC)
    if catalog.archives:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("archive", "age", "size", "tables", "rows", "uploads", "state", "retention"):
            table.add_column(
                heading,
                justify="right" if heading in ("age", "size", "tables", "rows", "uploads") else "left",
            )
        for entry in catalog.archives:
            table.add_row(*_row(entry, verdicts.get(entry.name), now))
        console = Console()
        if not console.is_terminal:
            console.width = 500  # a log or a pipe has no edge to wrap at
        console.print(table, highlight=False, markup=False)
    else:
        click.echo(f"There is no archive in {catalog.directory}.")
    for entry in catalog.archives:
        if entry.problem:
            click.echo(f"{entry.name}: {entry.problem}")
    if catalog.unfinished:
        click.echo(f"unfinished, being written or left by a killed run: {', '.join(catalog.unfinished)}")
    if catalog.foreign:
        click.echo(f"{plural(len(catalog.foreign), 'other file')}, never touched: {', '.join(catalog.foreign[:10])}")
    for warning in warnings:
        show_warning(warning)


def _row(entry: CatalogEntry, verdict: Verdict | None, now: datetime) -> list[str]:
    manifest = entry.manifest
    inside = ["?", "?", "?"]
    if manifest is not None:
        uploads = f"{manifest.upload_files:,} ({show_bytes(manifest.upload_bytes)})"
        inside = [f"{len(manifest.tables):,}", f"{manifest.rows:,}", uploads]
    decided = "" if verdict is None else f"{'keep' if verdict.keep else 'delete'}: {', '.join(verdict.reasons)}"
    age = "future" if is_from_future(entry, now) else show_duration(max((now - entry.taken_at).total_seconds(), 0))
    return [entry.name, age, show_bytes(entry.size), *inside, entry.state.value, decided]


def _document(catalog: Catalog, verdicts: dict[str, Verdict], warnings: list[str]) -> dict[str, object]:
    return {
        "schema": 1,
        "directory": str(catalog.directory),
        "archives": [_archive(entry, verdicts.get(entry.name)) for entry in catalog.archives],
        "unfinished": list(catalog.unfinished),
        "foreign": list(catalog.foreign),
        "warnings": warnings,
    }


def _archive(entry: CatalogEntry, verdict: Verdict | None) -> dict[str, object]:
    manifest = entry.manifest
    return {
        "name": entry.name,
        "taken_at": iso_time(entry.taken_at),
        "modified_at": iso_time(entry.candidate.modified_at),
        "size_bytes": entry.size,
        "state": entry.state.value,
        "problem": entry.problem,
        "tables": None if manifest is None else len(manifest.tables),
        "rows": None if manifest is None else manifest.rows,
        "upload_files": None if manifest is None else manifest.upload_files,
        "upload_bytes": None if manifest is None else manifest.upload_bytes,
        "warnings": [] if manifest is None else list(manifest.warnings),
        "keep": None if verdict is None else verdict.keep,
        "reasons": [] if verdict is None else list(verdict.reasons),
        "codes": [] if verdict is None else [reason.code.value for reason in verdict.because],
    }
