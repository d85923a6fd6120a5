"""Whether those who want to know how runs end can be told. No message is sent: `notify --test` does that."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from safeharbor_backup.actions.alerts.messages import find_telling_problems
from safeharbor_backup.actions.alerts.notify import find_notify_problems
from safeharbor_backup.actions.doctor.findings import Finding, fine, warning
from safeharbor_backup.actions.doctor.storage_checks import check_published
from safeharbor_backup.actions.status.metrics import MISSING as NO_METRICS
from safeharbor_backup.state.history import read_history

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings


def check_alerts(settings: Settings) -> list[Finding]:
    """Somebody is told when a run fails, and the last time it worked."""
    problems = find_notify_problems(settings.notify_urls)  # it imports Apprise
    found = [warning("alerts", problem.text, problem.remedy) for problem in problems]
    undelivered = find_telling_problems(settings, read_history(settings.backup_dir))
    found += [warning("alerts", problem, "safeharbor notify --test") for problem in undelivered]
    if found:
        return found
    ways = [f"{len(settings.notify_urls)} by BACKUP_NOTIFY_URLS"] if settings.notify_urls else []
    ways += ["a check by BACKUP_PING_URL"] if settings.ping_url is not None else []
    if not ways:
        return [
            fine("alerts", "nobody is told when a run fails: neither BACKUP_NOTIFY_URLS nor BACKUP_PING_URL is set")
        ]
    return [fine("alerts", f"told are {' and '.join(ways)}; `safeharbor notify --test` tries it")]


def check_metrics_file(path: Path) -> list[Finding]:
    """The metrics can be written, and by something."""
    if find_spec("prometheus_client") is None:
        return [warning("metrics file", NO_METRICS, "pip install prometheus-client")]
    return check_published("metrics file", path)
