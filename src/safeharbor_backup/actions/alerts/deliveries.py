"""How messages and pings went: failing to tell costs no run anything, and is remembered until telling works again.

The history has it under `notify` and `ping`, as if they were commands.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from safeharbor_backup.actions.alerts.ping import WAY
from safeharbor_backup.errors import ExitStatus, SafeHarborError
from safeharbor_backup.state.history import Outcome, read_history, remember_outcome
from safeharbor_backup.text import plural, show_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeharbor_backup.actions.alerts.notify import Delivery
    from safeharbor_backup.settings.model import Settings

NOTIFY = "notify"  # the command under which the history has how messages went
PING = WAY


def remember_deliveries(settings: Settings, command: str, deliveries: Sequence[Delivery]) -> tuple[str, ...]:
    """Put what failed into the history, and that all is well again after that; warnings about what failed."""
    failed = [f"{delivery.way}: {delivery.problem}" for delivery in deliveries if delivery.problem]
    newest = newest_of(command, read_history(settings.backup_dir))
    if failed or (deliveries and newest is not None and not newest.is_success):
        seconds = max(delivery.seconds for delivery in deliveries)
        status = ExitStatus.FAILED if failed else ExitStatus.DONE
        _append(settings, Outcome(command, datetime.now(UTC), seconds, int(status), "; ".join(failed)))
    if command == PING:
        return tuple(f"a ping was not delivered: {each.problem}" for each in deliveries if each.problem)
    return tuple(f"a message was not delivered: {problem}" for problem in failed)


def _append(settings: Settings, outcome: Outcome) -> None:
    try:
        remember_outcome(settings, outcome)
    except (SafeHarborError, OSError):
        pass  # then the run's own outcome cannot be written either, and that is reported


def newest_of(command: str, history: Sequence[Outcome]) -> Outcome | None:
    """The newest run of a command."""
    return next((one for one in reversed(history) if one.command == command), None)


def ways_of_telling(notify_urls: Sequence[str], ping_url: str | None) -> tuple[str, ...]:
    """The ways in which a failed run is reported, without any address."""
    ways = [f"{plural(len(notify_urls), 'receiver')} of messages"] if notify_urls else []
    return tuple(ways + (["a check that expects a ping"] if ping_url is not None else []))


def find_telling_problems(
    history: Sequence[Outcome], notify_urls: Sequence[str], ping_url: str | None
) -> tuple[str, ...]:
    """Why the newest message and the newest ping failed, a sentence each; nothing once delivery works again."""
    return tuple(
        f"the last {'message' if failed.command == NOTIFY else 'ping'} was not delivered "
        f"({show_time(failed.started_at)}): {failed.reason}"
        for failed in find_undelivered(history, notify_urls, ping_url)
    )


def find_undelivered(
    history: Sequence[Outcome], notify_urls: Sequence[str], ping_url: str | None
) -> tuple[Outcome, ...]:
    """The newest message and the newest ping if they were not delivered, as far as their addresses are still set."""
    is_set = {NOTIFY: bool(notify_urls), PING: ping_url is not None}
    newest = [newest_of(command, history) for command in is_set if is_set[command]]
    return tuple(one for one in newest if one is not None and not one.is_success)
