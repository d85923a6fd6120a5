"""Names of databases beside the live one, and the ids in them."""

from __future__ import annotations

import time


def new_id() -> str:
    """An id for a restore: 12 hexadecimal digits that sort by time, to a tenth of a millisecond."""
    return f"{time.time_ns() // 100_000:012x}"


def side_database(live: str, side: str, restore_id: str) -> str:
    """The name of a database beside `live`, cut to PostgreSQL's 63 bytes, never in the middle of a character."""
    ending = f"_{side}_{restore_id}"
    base = live.encode()[: 63 - len("_restore_") - len(restore_id)].decode("utf-8", "ignore")
    return base + ending
