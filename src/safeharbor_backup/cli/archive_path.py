"""An archive as a command takes it: a path, a name, the beginning of a time, or a word such as `latest`.

What names none is a mistyped command, not a bad archive.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from safeharbor_backup.actions.catalog.choose import LATEST, choose_by_word, find_by_name, is_word
from safeharbor_backup.actions.catalog.latest import notices_of
from safeharbor_backup.archive.layout import time_in_name
from safeharbor_backup.cli.lazy import LazyGroup
from safeharbor_backup.cli.output import TextOutput
from safeharbor_backup.cli.settings_source import read_settings, remember_how_run
from safeharbor_backup.errors import ArchiveNotFound, ArchiveRejected, SafeHarborError
from safeharbor_backup.text import typed

if TYPE_CHECKING:
    from safeharbor_backup.cli.output import Output
    from safeharbor_backup.settings.model import Settings


class ArchivePath(click.ParamType):  # type: ignore[type-arg]  # only newer clicks have one
    """The path of a regular file, from where one stands or from the backup directory, or a word to be looked up with
    `chosen_archive`.

    Whoever reads the file reports if it may not be read.
    """

    name = "path"

    def __init__(self, *, takes_short: bool = False) -> None:
        """`takes_short`: words may mean one that is much too small."""
        self._takes_short = takes_short

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path | str:
        """The path, or the word. Fails with status 2, before anything is remembered of the run."""
        if isinstance(value, Path) or value == LATEST:
            return value
        remember_how_run(ctx or click.get_current_context())
        text = str(value)
        path = Path(os.path.expanduser(text))  # `~name` of nobody is a name like any other
        why = _why_no_file(path)
        if not why:
            return path
        if "/" in text or "\0" in text:
            if not path.is_absolute() and (there := self._below_backup_dir(path, ctx)) is not None:
                return there
            self.fail(f"{path} {why} `{typed('list')}` shows the archives.", param, ctx)
        try:
            settings = read_settings(ctx or click.get_current_context(), TextOutput(), quiet=True)
            if not is_word(text):
                return find_by_name(text, settings)
            choose_by_word(text, settings, takes_short=self._takes_short)
        except ArchiveNotFound as error:
            between = "\n" if "\n" in error.message else " "  # what ends with a list
            self.fail(f"{error.message}{between}{error.hint}", param, ctx)
        except SafeHarborError:
            pass  # the command itself meets it again, and reports it as such
        return text

    @staticmethod
    def _below_backup_dir(path: Path, ctx: click.Context | None) -> Path | None:
        """The file of that path in the backup directory, if there is one."""
        try:
            settings = read_settings(ctx or click.get_current_context(), TextOutput(), quiet=True)
        except SafeHarborError:
            return None
        there = settings.backup_dir / path
        return None if _why_no_file(there) else there

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The archives that begin so, newest first, and the words; files, if there are none."""
        names = [LATEST, f"{LATEST}~1", *sorted(_names_of_archives(ctx), reverse=True)]
        begun = [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return begun or [CompletionItem(incomplete, type="file")]


def _names_of_archives(ctx: click.Context) -> list[str]:
    """All in the backup directory; none if it is not known or cannot be read, since a shell shows no errors."""
    group = ctx.parent
    try:
        if group is not None and isinstance(group.command, LazyGroup):
            group.command.choose_source(group)  # the group itself does not run while a shell asks
        settings = read_settings(ctx, TextOutput(), quiet=True)
        return [name for name in os.listdir(settings.backup_dir) if time_in_name(name) is not None]
    except (SafeHarborError, click.ClickException, OSError):
        return []


def chosen_archive(archive: Path | str, settings: Settings, output: Output, *, takes_short: bool = False) -> Path:
    """The archive that is meant, for a command that changes nothing live: what was skipped is a warning.

    Raises ArchiveRejected if there is none, SafeHarborError.
    """
    if isinstance(archive, Path):
        return archive.absolute()
    if not is_word(archive):
        return find_by_name(archive, settings)
    choice = choose_by_word(archive, settings, takes_short=takes_short)
    for notice in notices_of(choice):
        output.warning(notice)
    if choice.entry is None:
        raise ArchiveRejected(f"There is no archive in {settings.backup_dir} that `{archive}` can mean.")
    return choice.entry.path


def _why_no_file(path: Path) -> str:
    """Why it is not a regular file; "" if it is one, or that may not be known."""
    try:
        status = os.stat(path)
    except PermissionError:
        return ""
    except (OSError, ValueError) as error:
        return f"does not exist: {(error.strerror if isinstance(error, OSError) else None) or error}."
    return "" if stat.S_ISREG(status.st_mode) else "is not a regular file."
