"""What a setting is: a row of the table of all settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeharbor_backup.settings.model import Concern


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as an operator sees it, and the field of `Settings` that it becomes.

    `parse` makes a value of a text and raises `Unusable`, which says what was expected. `default` is the text that an
    unset variable stands for; "" makes an empty value, or, where there is a `rule`, what that says. Nothing that
    `is_secret` is ever shown.
    """

    name: str
    field: str
    parse: Callable[[str], object]
    concern: Concern
    default: str
    meaning: str
    rule: str = ""
    is_secret: bool = False

    @property
    def shown_default(self) -> str:
        """Its default as documentation shows it; "" for none."""
        return self.rule or self.default
