"""Numbers and times as people read them."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from safeharbor_backup.text import plural, show_bytes, show_duration, show_time

if TYPE_CHECKING:
    from datetime import datetime, tzinfo


def show_slot(moment: datetime, zone: tzinfo) -> str:
    """A moment in UTC, and as the clocks of another zone show it."""
    local = moment.astimezone(zone)
    return show_time(moment) + ("" if zone is UTC else local.strftime(" (%Y-%m-%d %H:%M:%S %Z)"))


def iso_time(moment: datetime) -> str:
    """A moment for a machine."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


__all__ = ["iso_time", "plural", "show_bytes", "show_duration", "show_slot", "show_time"]
