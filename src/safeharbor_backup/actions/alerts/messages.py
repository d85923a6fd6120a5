"""Who is sent the result of a run, and in which words: messages to people, and pings to a check.

What is worth a message is decided as data from the outcome and those before it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from safeharbor_backup.actions.alerts.deliveries import NOTIFY, PING, remember_deliveries
from safeharbor_backup.actions.alerts.notify import Kind, Message, send_message
from safeharbor_backup.actions.alerts.ping import LOG, START, SUCCESS, send_ping
from safeharbor_backup.actions.catalog.entries import is_from_future, read_catalog
from safeharbor_backup.errors import ExitStatus, SafeHarborError
from safeharbor_backup.settings.alerts import VARIABLES_OF_ALERTS, NotifyOn
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.text import plural, show_bytes, show_duration, show_time, typed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safeharbor_backup.actions.alerts.notify import Delivery
    from safeharbor_backup.settings.database_url import DatabaseUrl
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.state.history import Outcome

_PINGED = "backup"
_TOLD = ("backup", "verify", "drill")
_TOLD_IF_BAD = ("prune",)
_SHOWN_WARNINGS = 10
_ADVICE = {
    ExitStatus.WARNINGS: "Read the warnings.",
    ExitStatus.HANGUP: "If nobody stopped it on purpose, run it again.",
    ExitStatus.INTERRUPTED: "If nobody stopped it on purpose, run it again.",
    ExitStatus.TERMINATED: "If nobody stopped it on purpose, run it again.",
}


def _advice(status: ExitStatus | None) -> str:
    if status is ExitStatus.REJECTED:
        return f"Take a new backup now: {typed('backup')}. Then find out what damaged this one."
    return _ADVICE.get(status, "") if status is not None else ""


@dataclass(frozen=True, slots=True)
class Guidance:
    """What an error says besides its reason: what is still intact, and what to do next."""

    intact: str = ""
    hint: str = ""


def tell_start(settings: Settings, command: str, run_id: str) -> tuple[str, ...]:
    """Ping the check that a backup begins. Returns a warning if that failed."""
    url = settings.ping_url
    if url is None or command != _PINGED:
        return ()
    return remember_deliveries(settings, PING, [send_ping(url, START, run_id=run_id)])


def tell_end(
    settings: Settings, outcome: Outcome, advice: Guidance, *, run_id: str, history: Sequence[Outcome]
) -> tuple[str, ...]:
    """Send messages and a ping about how a run ended. Returns warnings about what could not be sent.

    `history` is what came before it.
    """
    broken = [each for each in settings.problems_in(Concern.MONITORING) if each.variable in VARIABLES_OF_ALERTS]
    warnings = tuple(f"an alert could not be sent: {problem}" for problem in broken)
    if settings.ping_url is not None and outcome.command == _PINGED:
        message = compose_message(outcome, advice, settings.database, settings.backup_dir)
        signal = SUCCESS if outcome.is_success else str(outcome.exit_status)
        text = f"{message.subject}\n\n{message.body}"
        warnings += remember_deliveries(settings, PING, [send_ping(settings.ping_url, signal, text, run_id=run_id)])
    if not settings.notify_urls:
        return warnings
    before = newest_like(outcome, history)
    if is_worth_telling(outcome, before, settings.notify_on):
        message = compose_message(outcome, advice, settings.database, settings.backup_dir, before)
        warnings += remember_deliveries(settings, NOTIFY, send_message(message, settings.notify_urls))
    return warnings


def send_test(settings: Settings) -> tuple[Delivery, ...]:
    """Send a test to every configured address. Returns how each delivery ended.

    A ping goes to `/log`, which changes no check's state.
    """
    message = Message(
        f"{_whose(settings.database, settings.backup_dir)}: a test",
        f"This is what `{typed('notify --test')}` sends. Failed runs are reported here.\n\n"
        + _where(settings.backup_dir),
        Kind.INFO,
    )
    deliveries = send_message(message, settings.notify_urls)
    remember_deliveries(settings, NOTIFY, deliveries)
    if settings.ping_url is None:
        return deliveries
    pinged = send_ping(settings.ping_url, LOG, f"{message.subject}\n\n{message.body}")
    remember_deliveries(settings, PING, [pinged])
    return (*deliveries, pinged)


def is_worth_telling(outcome: Outcome, before: Outcome | None, notify_on: NotifyOn) -> bool:
    """Whether this run causes a message: it failed, found much gone, is the first good one since, or all are sent."""
    if outcome.command not in (*_TOLD, *_TOLD_IF_BAD):
        return False
    if _is_bad(outcome, notify_on) or outcome.notes:  # decision 95
        return True
    if outcome.command in _TOLD_IF_BAD:
        return False
    return notify_on is NotifyOn.ALWAYS or (before is not None and _is_bad(before, notify_on))


def newest_like(outcome: Outcome, history: Sequence[Outcome]) -> Outcome | None:
    """The newest run of the same kind; a quick verify is not of the kind of a full one."""

    def kind(one: Outcome) -> tuple[str, bool]:
        return one.command, bool(one.details.get("quick"))

    return next((one for one in reversed(history) if kind(one) == kind(outcome)), None)


def compose_message(
    outcome: Outcome,
    advice: Guidance,
    database: DatabaseUrl | None,
    directory: Path,
    before: Outcome | None = None,
) -> Message:
    """The message that people read about a run; `before` is the previous run of the same kind."""
    is_recovery = outcome.is_success and before is not None and not before.is_success
    if not outcome.is_success:
        kind, word = Kind.FAILURE, "FAILED"
    elif outcome.exit_status == ExitStatus.WARNINGS:
        kind, word = Kind.WARNING, "good again, with warnings" if is_recovery else "done, with warnings"
    else:
        kind, word = Kind.SUCCESS, "good again" if is_recovery else "done"
    if outcome.notes and not is_recovery and outcome.is_success:
        word = f"{word}, but much is gone"
    parts = [outcome.reason and _sentence(outcome.reason)]
    parts += [_listed(outcome.warnings), _listed(outcome.notes), advice.intact, _newest(directory)]
    if kind is not Kind.SUCCESS:
        step = advice.hint or _advice(_as_status(outcome.exit_status))
        parts.append(step and f"Next step: {step}")
    took = f"Started {show_time(outcome.started_at)}, took {outcome.seconds:.1f} s, ended with {outcome.exit_status}."
    parts.append(f"{took}\n{_where(directory)}")
    return Message(f"{_whose(database, directory)}: {outcome.command} {word}", "\n\n".join(filter(None, parts)), kind)


def _is_bad(outcome: Outcome, notify_on: NotifyOn) -> bool:
    return not outcome.is_success or (notify_on is not NotifyOn.FAILURE and outcome.exit_status == ExitStatus.WARNINGS)


def _as_status(number: int) -> ExitStatus:
    return ExitStatus(number) if number in list(ExitStatus) else ExitStatus.FAILED


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith(('?', '!')) else '.'}"


def _listed(warnings: Sequence[str]) -> str:
    lines = [f"- {warning}" for warning in warnings[:_SHOWN_WARNINGS]]
    if len(warnings) > _SHOWN_WARNINGS:
        lines.append(f"- and {plural(len(warnings) - _SHOWN_WARNINGS, 'warning')} more")
    return "\n".join(lines)


def _newest(directory: Path) -> str:
    try:
        now = datetime.now(UTC)
        archives = read_catalog(directory).archives
        newest = next((each for each in archives if each.is_complete and not is_from_future(each, now)), None)
    except (SafeHarborError, OSError):
        return f"The archives in {directory} cannot be read."
    if newest is None:
        return f"There is no complete archive in {directory}."
    age = show_duration(max((datetime.now(UTC) - newest.taken_at).total_seconds(), 0.0))
    taken = f"{age} old (taken {show_time(newest.taken_at)})"
    return f"Newest complete archive: {newest.name}, {taken}, {show_bytes(newest.size)}."


def _whose(url: DatabaseUrl | None, directory: Path) -> str:
    """The database and its server in a few words, such as `reef on db.internal`; else where the archives are."""
    if url is None:
        return str(directory)
    host = url.get("host") or url.get("hostaddr")
    name = url.get("dbname") or url.get("user") or url.get("service")
    return f"{name} on {'the local socket' if not host or host.startswith(('/', '@')) else host}"


def _where(directory: Path) -> str:
    return f"Host {os.uname().nodename}, archives in {directory}."
