"""BACKUP_DRILL_COMMAND: what the app itself says of the copy."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from safeharbor_backup.errors import ToolFailed
from safeharbor_backup.postgres.connection import redact
from safeharbor_backup.system.process import app_environment, started_tool
from safeharbor_backup.system.threads import Watchdog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.settings.database_url import DatabaseUrl
    from safeharbor_backup.settings.model import Settings

TIMEOUT_SECONDS = 1800.0
_KEPT_LINES = 20
_LONGEST_LINE = 500
# what a client needs to reach the server as we do, besides the address itself
_CARRIED = ("sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslnegotiation", "channel_binding",
            "gssencmode", "connect_timeout")  # fmt: skip


@dataclass(frozen=True, slots=True)
class AppCheck:
    """How the command ended; `output` has the last lines of standard output and standard error, without passwords."""

    program: str
    exit_status: int
    seconds: float
    output: tuple[str, ...]
    has_timed_out: bool = False


def check_app(settings: Settings, target: Target, database: str, uploads: Path) -> AppCheck:
    """Run the command with DATABASE_URL and UPLOAD_DIR of the copy. Raises ToolFailed if it cannot be started."""
    url = target.url.with_database(database)
    password = url.password or target.session.info.password or None
    driver = settings.database.driver if settings.database is not None else ""
    environment = app_environment({"DATABASE_URL": address_of(url, password, driver), "UPLOAD_DIR": os.fspath(uploads)})
    started = time.monotonic()
    last: deque[str] = deque(maxlen=_KEPT_LINES)
    timed_out = threading.Event()
    with started_tool(settings.drill_command, env=environment, cwd=Path.cwd()) as tool:

        def give_up() -> None:
            timed_out.set()
            tool.end_session()

        watchdog = Watchdog(TIMEOUT_SECONDS, give_up)
        watchdog.start()
        try:
            for line in tool.stdout:
                last.append(line[:_LONGEST_LINE].decode("utf-8", "replace").rstrip())
            status = tool.wait()
        finally:
            watchdog.cancel()
            tool.end_session()  # what it left running would hold the copy
    said = [*last, *[line[:_LONGEST_LINE] for line in tool.stderr.splitlines()[-_KEPT_LINES:]]]
    return AppCheck(
        Path(settings.drill_command[0]).name,
        status,
        round(time.monotonic() - started, 3),
        tuple(_without_secrets(line, settings, password or "", url) for line in said if line),
        has_timed_out=timed_out.is_set(),
    )


def address_of(url: DatabaseUrl, password: str | None, driver: str) -> str:
    """The address as apps take it, in full."""
    user = quote(url.get("user"), safe="")
    secret = f":{quote(password, safe='')}" if password else ""
    host, port = url.get("host"), url.get("port")
    options = {key: url.get(key) for key in _CARRIED if url.get(key)}
    place = ""
    if host.startswith(("/", "@")):
        options = {"host": host, "port": port, **options}
    else:
        place = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    query = "&".join(f"{key}={quote(value, safe='')}" for key, value in options.items() if value)
    scheme = f"postgresql+{driver}" if driver else "postgresql"
    name = quote(url.get("dbname"), safe="")
    return f"{scheme}://{user}{secret}@{place}/{name}{f'?{query}' if query else ''}"


def _without_secrets(line: str, settings: Settings, password: str, url: DatabaseUrl) -> str:
    known: Sequence[DatabaseUrl | None] = (url, settings.database, settings.restore_database, settings.drill_database)
    for each in known:
        if each is not None:
            line = redact(line, each)
    for secret in (password, settings.secret_key):
        if secret:
            line = line.replace(secret, "***")
    return line


__all__ = ["TIMEOUT_SECONDS", "AppCheck", "ToolFailed", "address_of", "check_app"]
