"""Whether failed runs are reported to anybody. No message is sent: `notify --test` does that."""

from __future__ import annotations

import os
import shlex
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING

from safeharbor_backup.actions.alerts.deliveries import find_telling_problems
from safeharbor_backup.actions.alerts.notify import find_notify_problems
from safeharbor_backup.actions.catalog.last_runs import BACKUP
from safeharbor_backup.actions.doctor.check import Check, Context
from safeharbor_backup.actions.doctor.findings import Finding, fine, remark, warning
from safeharbor_backup.actions.status.metrics import MISSING as NO_METRICS
from safeharbor_backup.state.history import read_history
from safeharbor_backup.system.processes import where_typed
from safeharbor_backup.text import plural, typed

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings

_NEW = timedelta(days=1)
_SILENCED = "alerts"


def check_alerts(settings: Settings, now: datetime) -> list[Finding]:
    """Whether failed runs are reported to anybody, and whether the last message arrived.

    Until the first backup is a day old, it is not a warning that no alert is set up.
    """
    problems = find_notify_problems(settings.notify_urls)  # it imports Apprise
    found = [warning("alerts", problem.text, problem.remedy) for problem in problems]
    history = read_history(settings.backup_dir)
    undelivered = find_telling_problems(history, settings.notify_urls, settings.ping_url)
    found += [warning("alerts", problem, typed("notify --test")) for problem in undelivered]
    if found:
        return found
    count = len(settings.notify_urls)
    ways = [f"{plural(count, 'receiver')} in BACKUP_NOTIFY_URLS"] if count else []
    ways += ["the check of BACKUP_PING_URL"] if settings.ping_url is not None else []
    if not ways:
        text = "nobody learns of a failed run: neither BACKUP_NOTIFY_URLS nor BACKUP_PING_URL is set"
        is_new = all(now - each.started_at < _NEW for each in history if each.command == BACKUP)
        is_watched = settings.metrics_file is not None or settings.status_file is not None
        if is_new or is_watched or _SILENCED in settings.ignore:
            return [remark("alerts", text)]
        return [warning("alerts", text, f"Set one of them, or BACKUP_IGNORE={_SILENCED} if something else watches.")]
    return [fine("alerts", f"alerts go to {' and '.join(ways)}; `{typed('notify --test')}` tests them")]


def check_metrics_file(path: Path | None) -> list[Finding]:
    """Whether the metrics file can be written, and the package for it is installed."""
    if path is not None and find_spec("prometheus_client") is None:
        return [warning("metrics file", NO_METRICS, "pip install prometheus-client")]
    return check_published("metrics file", path)


def check_published(name: str, path: Path | None) -> list[Finding]:
    """Where the state is published can be written; nothing to find if it is not."""
    if path is None:
        return []
    if os.access(path.parent, os.W_OK | os.X_OK):
        return [fine(name, f"{path} can be written")]
    user, group = os.geteuid(), os.getegid()
    return [
        warning(
            name,
            f"{path} cannot be written: {path.parent} does not exist, or uid {user} has no access to it",
            where_typed(
                f"sudo install -d -m 0755 -o {user} -g {group} {shlex.quote(str(path.parent))}",
                "mount a directory of the host there",
            ),
        )
    ]


CHECKS: tuple[Check[Context], ...] = (
    Check(
        "status file",
        "the file of `BACKUP_STATUS_FILE` can be written, if one is set",
        lambda context: check_published("status file", context.settings.status_file),
    ),
    Check(
        "metrics file",
        "the file of `BACKUP_METRICS_FILE` can be written, if one is set, and the Python package for it is installed",
        lambda context: check_metrics_file(context.settings.metrics_file),
    ),
    Check(
        "alerts",
        "the addresses of [alerts](notify.md) can be used, the Python package for them is installed, and the last "
        "message and ping arrived; from the second day on, that anybody would be alerted at all. Nothing is sent",
        lambda context: check_alerts(context.settings, context.now),
    ),
)
