"""A secret setting whose value is in a file, as Docker and Kubernetes mount secrets."""

from __future__ import annotations

import os
import stat

from safeharbor_backup.errors import Unusable

_LIMIT_BYTES = 65_536


def read_secret(name: str, path: str) -> str:
    """The value in a file, without the line break at its end. Raises Unusable, with nothing of the value in it."""
    try:
        text = ""
        if stat.S_ISREG(os.stat(path).st_mode):  # a pipe that nobody writes to would be waited for
            with open(path, encoding="utf-8") as file:
                text = file.read(_LIMIT_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Unusable(f"its value in the file {path}, which {name}_FILE names; {why}") from None
    if not text.strip():
        raise Unusable(
            f"its value in the file {path}, which {name}_FILE names; which is not a regular file, or is empty"
        )
    return text.strip()
