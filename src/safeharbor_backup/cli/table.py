"""A table for a terminal: whole columns are left out where there is no place for them, and nothing is ever cut."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_GAP = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and a cell for each row; columns come in the order of need."""

    heading: str
    cells: Sequence[str]
    is_number: bool = False

    @property
    def width(self) -> int:
        """As wide as its widest cell."""
        return max(map(len, (self.heading, *self.cells)))


def table_lines(columns: Sequence[Column], width: int | None) -> list[str]:
    """The lines, headings first, of the columns that fit into `width`; of all if that is None. The first is there
    always.
    """
    shown: list[Column] = []
    used = 0
    for column in columns:
        needed = column.width + (len(_GAP) if shown else 0)
        if width is None or not shown or used + needed <= width:
            shown.append(column)
            used += needed
    rows = zip(*((column.heading, *column.cells) for column in shown), strict=True)
    return [
        _GAP.join(
            cell.rjust(column.width) if column.is_number else cell.ljust(column.width)
            for cell, column in zip(row, shown, strict=True)
        ).rstrip()
        for row in rows
    ]


def terminal_width() -> int | None:
    """How many columns there are; None for a log or a pipe, which has no edge."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
