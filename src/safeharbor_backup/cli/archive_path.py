"""The path of an archive as a command takes it: one that names no file is a mistyped command, not a bad archive."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import click

LATEST = "latest"


class ArchivePath(click.ParamType):  # type: ignore[type-arg]  # only newer clicks have one
    """An existing regular file; with `latest`, that word too. Whether it may be read is told by who reads it."""

    name = "path"

    def __init__(self, *, latest: bool = False) -> None:
        self._latest = latest

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path | str:
        """The path, or the word. Fails with status 2, before anything is remembered of the run."""
        if isinstance(value, Path) or (self._latest and value == LATEST):
            return value
        path = Path(str(value)).expanduser()
        try:
            status = os.stat(path)
        except PermissionError:
            return path
        except (OSError, ValueError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or str(error)
            self.fail(f"{path} does not exist: {why}. `safeharbor list` shows the archives.", param, ctx)
        if not stat.S_ISREG(status.st_mode):
            self.fail(f"{path} is not a regular file.", param, ctx)
        return path
