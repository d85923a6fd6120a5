"""What a look at the target tells before a restore: facts, warnings, and what would make it fail."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safeharbor_backup.errors import SafeHarborError


@dataclass(slots=True)
class Findings:
    """Collected while looking; `problems` in the order in which the restore would meet them.

    `losses` are what is live now and not in the archive; `ways_back` what is kept of it, and how to return to it;
    `afterwards` what stops with the restore, and what to type then.
    """

    facts: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    ways_back: list[str] = field(default_factory=list)
    afterwards: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[SafeHarborError] = field(default_factory=list)

    def require_none(self) -> None:
        """Raises the first problem."""
        if self.problems:
            raise self.problems[0]
