"""Table patterns as psql and pg_dump read them, so that a backup can say why a table is not in its dump."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safeharbor_backup.postgres.rows import Table


def table_pattern(pattern: str) -> tuple[re.Pattern[str] | None, re.Pattern[str]]:
    """Regular expressions for the schema (None: any visible one) and the table of a pattern such as `audit.*`.

    As in psql: `*` any characters, `?` one, a dot divides schema and table, letters outside double quotes are
    folded to lower case, and everything inside double quotes is literal. (psql manual, "Patterns".)
    """
    parts = [""]
    quoted = False
    index = 0
    while index < len(pattern):
        char = pattern[index]
        if char == '"':
            if quoted and pattern[index + 1 : index + 2] == '"':
                parts[-1] += '"'
                index += 1
            else:
                quoted = not quoted
        elif quoted:
            parts[-1] += re.escape(char)
        elif char == "*":
            parts[-1] += ".*"
        elif char == "?":
            parts[-1] += "."
        elif char == ".":
            parts.append("")
        elif char in "|()[]+":  # psql leaves these to be regular expressions
            parts[-1] += char
        else:
            parts[-1] += re.escape(char.lower())
        index += 1
    compiled = [re.compile(part, re.DOTALL) for part in parts[-2:]]
    return (compiled[0], compiled[1]) if len(compiled) == 2 else (None, compiled[0])


def is_left_out(table: Table, schemas: tuple[str, ...], tables: tuple[str, ...]) -> bool:
    """Whether a table is named by one of the patterns, or its schema is by one of those for schemas."""
    if any(table_pattern(pattern)[1].fullmatch(table.schema) for pattern in schemas):
        return True
    for pattern in tables:
        schema_pattern, name_pattern = table_pattern(pattern)
        if name_pattern.fullmatch(table.name) and (schema_pattern is None or schema_pattern.fullmatch(table.schema)):
            return True
    return False
