"""`copy`: an archive into another database and directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from safeharbor_backup.actions.copy.masking import read_script
from safeharbor_backup.actions.copy.run import CopyRequest, copy_archive
from safeharbor_backup.cli.archive_path import ArchivePath, chosen_archive
from safeharbor_backup.cli.command import WHILE_RESTORING, exit_with, safeharbor_command
from safeharbor_backup.cli.extract_documents import CopyDocument
from safeharbor_backup.cli.options import jobs_option, json_option, quiet_option
from safeharbor_backup.errors import ExitStatus, SettingsInvalid
from safeharbor_backup.settings.address_parsing import UnusableDatabaseUrl, parse_database_url
from safeharbor_backup.text import ascii_safe, plural, show_bytes

if TYPE_CHECKING:
    from safeharbor_backup.actions.copy.run import Copied
    from safeharbor_backup.cli.output import Output
    from safeharbor_backup.cli.run import Run
    from safeharbor_backup.settings.database_url import DatabaseUrl


@safeharbor_command(
    "Copy an archive into another database and another directory, for staging or a laptop. The configured database "
    "and uploads are never touched, whatever their names and addresses. The target is a new or empty "
    "database and an empty directory; with --replace, the copy replaces what is there.\n\nThe SQL "
    "of --run-sql runs before anybody can connect to the copy: if it fails, there is no copy.",
    *WHILE_RESTORING,
    meanings={
        ExitStatus.LOCKED: "another restore or copy is using that database, or the archive is being deleted",
        ExitStatus.CANNOT_RESTORE: "the target must not be used, or the copy cannot be made there; no copy was made",
    },
)
@click.option("--from", "archive", type=ArchivePath(), required=True, help="The archive: a path, a name, or `latest`.")
@click.option("--to-database", "database", metavar="URL", required=True, help="The database to copy into.")
@click.option("--to-uploads", "uploads", type=click.Path(file_okay=False), help="The directory for the uploads.")
@click.option("--no-uploads", is_flag=True, help="Copy no uploads.")
@click.option(
    "--run-sql",
    "script",
    type=click.Path(path_type=Path),
    help="A file of SQL that masks the copy before anybody can connect to it.",
)
@click.option(
    "--tables",
    metavar="NAMES",
    help="Copy the structure of all tables, but the rows of these only, separated by commas.",
)
@click.option("--replace", "replaces", is_flag=True, help="Once the copy is made, delete for ever what it replaces.")
@jobs_option
@quiet_option("warnings and errors")
@json_option
def command(
    run: Run,
    archive: Path | str,
    database: str,
    *,
    uploads: str | None,
    no_uploads: bool,
    script: Path | None,
    tables: str | None,
    replaces: bool,
    jobs: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Restores into another database, and shows what is there now."""
    if (uploads is None) is not no_uploads or uploads == "":
        raise click.UsageError("Give one of --to-uploads DIRECTORY and --no-uploads.")
    names = tuple(part.strip() for part in tables.split(",")) if tables is not None else ()
    if not all(names):
        raise click.UsageError("--tables: a name is empty.")
    settings = run.read_settings(quiet=True, notices_restore=False)
    request = CopyRequest(
        archive=chosen_archive(archive, settings, run.output),
        database=_address(database),
        uploads=Path(uploads).absolute() if uploads is not None else None,
        script=read_script(script) if script is not None else None,
        tables=names,
        replaces=replaces,
        jobs=jobs or os.cpu_count() or 1,
    )
    with run.output.watching(quiet=quiet or as_json) as progress:
        done = copy_archive(request, settings, progress)
    if as_json:
        run.output.document(_document(done, request))
    elif not quiet:
        _print(run.output, done, request)
    for warning in done.warnings:
        run.output.warning(warning)
    if done.warnings:
        exit_with(ExitStatus.WARNINGS)


def _address(text: str) -> DatabaseUrl:
    try:
        return parse_database_url(text)
    except UnusableDatabaseUrl as error:
        raise SettingsInvalid([f"--to-database: expected {error}"]) from None


def _print(output: Output, done: Copied, request: CopyRequest) -> None:
    rows = f", {plural(done.rows, 'row')}" if done.rows is not None else ""
    output.result(f"copied {ascii_safe(done.archive.name)} into {done.database}: {plural(done.tables, 'table')}{rows}")
    if done.uploads is not None:
        files = f"{plural(done.upload_files, 'upload')} ({show_bytes(done.upload_bytes)})"
        output.result(f"  and {files} into {ascii_safe(str(done.uploads))}")
    if request.script is not None:
        output.result(f"  changed by {ascii_safe(str(request.script.path))} before anybody could connect")


def _document(done: Copied, request: CopyRequest) -> CopyDocument:
    return CopyDocument(
        archive=str(done.archive),
        database=done.database,
        uploads=str(done.uploads) if done.uploads is not None else None,
        tables=done.tables,
        rows=done.rows,
        upload_files=done.upload_files,
        upload_bytes=done.upload_bytes,
        run_sql=str(request.script.path) if request.script is not None else None,
        warnings=done.warnings,
    )
