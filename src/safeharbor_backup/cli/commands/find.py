"""`find`: in which archives a file is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from safeharbor_backup.actions.catalog.choose import local_zone
from safeharbor_backup.actions.find import MOST_FILES, find_files
from safeharbor_backup.cli.command import exit_with, safeharbor_command
from safeharbor_backup.cli.extract_documents import FindDocument, FoundIn, FoundPath, FoundVersion
from safeharbor_backup.cli.options import json_option
from safeharbor_backup.errors import ExitStatus, SafeHarborError
from safeharbor_backup.text import ascii_safe, iso_time, plural, shell_word, typed

if TYPE_CHECKING:
    from datetime import tzinfo

    from safeharbor_backup.actions.find import FoundFile, Search, Version
    from safeharbor_backup.cli.output import Output
    from safeharbor_backup.cli.run import Run

_MOST_NAMED = 5


@safeharbor_command(
    "Find the archives in BACKUP_DIR that have a file, newest first, and its versions by checksum. PATTERN is the "
    "file's name, with `*`, `?` and `[…]` if you like, a path below uploads/ if there is a slash in it, or a SHA-256. "
    "Only each archive's list of checksums is read.",
    ExitStatus.DONE,
    ExitStatus.FAILED,
    ExitStatus.USAGE,
    ExitStatus.WARNINGS,
    ExitStatus.STORAGE,
    meanings={
        ExitStatus.FAILED: "no archive has such a file",
        ExitStatus.WARNINGS: "not all archives could be searched, or not all that was found is shown",
    },
    only_prints=lambda _: True,
)
@click.argument("pattern")
@json_option
def command(run: Run, pattern: str, *, as_json: bool) -> None:
    """Shows in which archives there is such a file."""
    if not pattern:
        raise click.UsageError("The pattern is empty; `*` stands for every file.")
    settings = run.read_settings(quiet=True)
    search = find_files(pattern, settings)
    if as_json:
        run.output.document(_document(search))
    else:
        _print(run.output, search, local_zone(settings))
    for warning in search.warnings:
        run.output.warning(warning)
    if search.is_cut:
        run.output.warning(f"more than {MOST_FILES:,} files match; give a narrower pattern")
    if not search.files:
        raise SafeHarborError(
            f"None of {plural(search.archives, 'archive')} in {settings.backup_dir} has a file {ascii_safe(pattern)}.",
            hint="A pattern with a slash is for the whole path below uploads/; `*` stands for anything.",
        )
    if search.warnings or search.is_cut:
        exit_with(ExitStatus.WARNINGS)


def _print(output: Output, search: Search, zone: tzinfo | None) -> None:
    for file in search.files:
        path = file.path.decode("utf-8", "surrogateescape")
        output.result(ascii_safe(path))
        for version in file.versions:
            newest, oldest = version.archives[0].taken_at, version.archives[-1].taken_at
            span = f"{newest.astimezone(zone):%Y-%m-%d %H:%M}"
            if len(version.archives) > 1:
                span += f" back to {oldest.astimezone(zone):%Y-%m-%d %H:%M}"
            known = version.sha256[:16] or "content not known"
            output.result(f"  {known}  in {plural(len(version.archives), 'archive')}, {span}")
            for entry in version.archives[:_MOST_NAMED]:
                output.result(f"    {entry.name}")
            if len(version.archives) > _MOST_NAMED:
                output.result(f"    and {len(version.archives) - _MOST_NAMED:,} older")
    if len(search.files) == 1:
        name = search.files[0].versions[0].archives[0].name
        whole = shell_word(f"uploads/{path}")  # a path may begin with uploads/ too, or like an option
        output.result(f"To get it back: {typed(f'extract {name} {whole} --to DIRECTORY')}")


def _document(search: Search) -> FindDocument:
    return FindDocument(
        searched=search.archives,
        files=tuple(_file(file) for file in search.files),
        complete=not (search.is_cut or search.warnings),
        warnings=tuple(search.warnings),
    )


def _file(file: FoundFile) -> FoundPath:
    return FoundPath(
        path=file.path.decode("utf-8", "surrogateescape"),
        versions=tuple(_version(version) for version in file.versions),
    )


def _version(version: Version) -> FoundVersion:
    return FoundVersion(
        sha256=version.sha256 or None,
        archives=tuple(FoundIn(name=entry.name, taken_at=iso_time(entry.taken_at)) for entry in version.archives),
    )
