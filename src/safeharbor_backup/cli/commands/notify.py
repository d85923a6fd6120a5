"""`notify`: test whether alerts arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from safeharbor_backup.actions.alerts.messages import send_test
from safeharbor_backup.cli.command import exit_with, safeharbor_command
from safeharbor_backup.cli.documents import DeliveryDocument, NotifyDocument
from safeharbor_backup.cli.options import json_option
from safeharbor_backup.errors import ExitStatus, SettingsInvalid
from safeharbor_backup.settings.alerts import VARIABLES_OF_ALERTS
from safeharbor_backup.settings.model import Concern

if TYPE_CHECKING:
    from safeharbor_backup.cli.run import Run
    from safeharbor_backup.settings.model import Settings


@safeharbor_command(
    "Send a test message to every address in BACKUP_NOTIFY_URLS, and a ping to BACKUP_PING_URL that changes nothing "
    "there; show the result of each. Runs send their messages themselves.",
    ExitStatus.DONE,
    ExitStatus.FAILED,
    ExitStatus.USAGE,
    meanings={ExitStatus.FAILED: "a message or the ping was not delivered"},
)
@click.option("--test", is_flag=True, required=True, help="Send the test message and the ping.")
@json_option
def command(run: Run, *, test: bool, as_json: bool) -> None:  # noqa: ARG001 - required, so that nobody sends one by mistake
    """Sends a test, and shows how each delivery went."""
    settings = run.read_settings(quiet=True, notices_restore=False)
    _require_ways(settings)
    deliveries = send_test(settings)
    if as_json:
        sent = (DeliveryDocument(way=e.way, problem=e.problem, seconds=round(e.seconds, 3)) for e in deliveries)
        run.output.document(NotifyDocument(deliveries=tuple(sent)))
    for delivery in () if as_json else deliveries:
        told = f"FAILED: {delivery.problem}" if delivery.problem else f"delivered in {delivery.seconds:.1f} s"
        run.output.result(f"{delivery.way}: {told}")
    if any(delivery.problem for delivery in deliveries):
        exit_with(ExitStatus.FAILED)


def _require_ways(settings: Settings) -> None:
    broken = [
        problem for problem in settings.problems_in(Concern.MONITORING) if problem.variable in VARIABLES_OF_ALERTS
    ]
    if broken:
        raise SettingsInvalid([str(problem) for problem in broken])
    if not settings.notify_urls and settings.ping_url is None:
        raise SettingsInvalid(
            ["BACKUP_NOTIFY_URLS, BACKUP_PING_URL: expected an address in one of them"],
            hint="docs/monitoring.md has examples.",
        )
