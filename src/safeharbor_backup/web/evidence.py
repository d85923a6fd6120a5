"""The page for an auditor: the drills of a period, what each has proven, and who has signed that."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from msgspec import Struct, structs, to_builtins

from safeharbor_backup.system.documents import Count, convert_document
from safeharbor_backup.text import plural
from safeharbor_backup.web.document import sane
from safeharbor_backup.web.format import day, span, took
from safeharbor_backup.web.page import content_security_policy, templates
from safeharbor_backup.web.sections import Fact
from safeharbor_backup.web.verdict import State, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

SIGNED, UNSIGNED, UNCHECKED, REJECTED = "signed", "unsigned", "not checked", "rejected"
_RESTORED = ("passed", "warnings")


class ShownDrill(Struct, frozen=True, kw_only=True):
    """A drill. `result` is `passed`, `warnings`, `failed` or `impossible`; `signature` is `signed`, `unsigned`,
    `rejected` or `not checked`, with the reason in `signature_problem`. `as_recorded` and `not_compared` are in words.
    """

    evidence: str
    drilled_at: datetime
    result: str
    exit_status: int
    archive: str
    taken_at: datetime | None
    archive_bytes: Count | None
    sha256_of_members: str | None
    offsite: str | None
    server: str
    safeharbor_version: str
    tables: Count
    rows: Count | None
    upload_files: Count
    upload_bytes: Count
    rows_compared: Count | None
    files_compared: Count | None
    as_recorded: tuple[str, ...]
    not_compared: tuple[str, ...]
    restore_seconds: float | None
    max_restore_seconds: float | None
    signature: str
    signer: str | None
    key: str | None
    signature_problem: str
    problems: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def is_late(self) -> bool:
        """Whether its restore took longer than the objective."""
        most = self.max_restore_seconds
        return most is not None and self.restore_seconds is not None and self.restore_seconds > most

    @property
    def has_restored(self) -> bool:
        """Whether it says that its archive was restored, and that was not changed."""
        return self.result in _RESTORED and self.signature != REJECTED


class EvidenceReport(Struct, frozen=True, kw_only=True):
    """The drills of a period, newest first. `unreadable` names files of evidence that hold none, and why."""

    schema: int = 1
    made_at: datetime
    since: datetime
    until: datetime
    databases: tuple[str, ...]
    signers: str | None
    drills: tuple[ShownDrill, ...]
    unreadable: tuple[str, ...]


def render_evidence(report: EvidenceReport, version: str) -> str:
    """The page. Nothing that the evidence holds becomes markup."""
    told = convert_document(to_builtins(report), EvidenceReport, sane)
    lost = len(report.drills) - len(told.drills)
    if lost:
        why = f"{plural(lost, 'drill')} could not be shown: look at --json"
        told = structs.replace(told, unreadable=(why, *told.unreadable))
    return (
        templates()
        .get_template("evidence.html")
        .render(
            policy=content_security_policy(),
            what="Drills",
            verdict=judge_drills(told),
            facts=_facts_of(told),
            report=told,
            subject=", ".join(told.databases),
            version=version,
        )
    )


def judge_drills(report: EvidenceReport) -> Verdict:
    """What an auditor may conclude: nothing is good of which one drill is not."""
    drills, period = report.drills, f"From {day(report.since)} to {day(report.until)}."
    if not drills:
        none = "No drill of this period can be shown." if report.unreadable else "No drill in this period."
        return Verdict(State.STALE, none, period, report.unreadable)
    reasons = tuple(_reasons(report))
    proven = sum(_proven(report, each) for each in drills)
    if not _proven(report, drills[0]):
        return Verdict(State.FAILED, _why_not(report, drills[0]), period, reasons)
    if proven < len(drills):
        sentence = f"{proven} of {plural(len(drills), 'drill')} proved that their archive restores."
        return Verdict(State.WARNING, sentence, period, reasons)
    every = "The drill restored its archive." if proven == 1 else f"All {proven} drills restored their archive."
    return Verdict(State.WARNING if reasons else State.GOOD, every, period, reasons)


def _proven(report: EvidenceReport, drill: ShownDrill) -> bool:
    """Whether it has proven its archive. Where a key was named, only what that has signed proves anything."""
    return drill.has_restored and (report.signers is None or drill.signature == SIGNED)


def _why_not(report: EvidenceReport, last: ShownDrill) -> str:
    if last.signature == REJECTED:
        return "The last drill proves nothing: its signature is not valid."
    if last.signature == UNSIGNED and report.signers is not None:
        return "The last drill proves nothing: it is not signed."
    return "The last drill did not restore its archive."


def _reasons(report: EvidenceReport) -> list[str]:
    drills = report.drills
    counted = (
        (sum(each.result == "failed" for each in drills), "failed: the archive did not restore, or differed"),
        (sum(each.result == "impossible" for each in drills), "could not be done; that says nothing about the archive"),
        (sum(each.result == "warnings" for each in drills), "restored with warnings"),
        (sum(each.is_late for each in drills), "took longer than the objective"),
        (sum(each.signature == REJECTED for each in drills), "with an invalid signature: do not rely on it"),
        (sum(each.signature == UNSIGNED for each in drills), "not signed") if report.signers else (0, ""),
    )
    found = [f"{plural(count, 'drill')} {what}" for count, what in counted if count]
    return [*found, *report.unreadable]


def _facts_of(report: EvidenceReport) -> list[Fact]:
    drills = report.drills
    proven = [each for each in drills if _proven(report, each)]
    last = Fact("Last proven restore", day(proven[0].drilled_at), more=f"of {proven[0].archive}") if proven else None
    slowest = max(
        (each for each in proven if each.restore_seconds), key=lambda each: each.restore_seconds or 0, default=None
    )
    return [
        Fact("Drills", f"{len(drills):,}", more=f"{len(proven):,} restored, {len(drills) - len(proven):,} not proven"),
        last or Fact("Last proven restore", "none"),
        Fact("Slowest restore", took(slowest.restore_seconds or 0), more=_objective(drills))
        if slowest is not None
        else Fact("Slowest restore", "none", more=_objective(drills)),
        _gap(report),
        _signatures(report),
    ]


def _objective(drills: Sequence[ShownDrill]) -> str:
    limits = sorted({each.max_restore_seconds for each in drills if each.max_restore_seconds is not None})
    if not limits:
        return "no objective is set"
    return f"objective: {' or '.join(map(took, limits))}; missed by {sum(each.is_late for each in drills):,}"


def _gap(report: EvidenceReport) -> Fact:
    """Within the period, but for the time before the first drill, of which there may be no evidence any more."""
    what, moments = "Longest time without a drill", [report.until, *(each.drilled_at for each in report.drills)]
    gaps = [(later - earlier).total_seconds() for later, earlier in pairwise(moments)]
    if not gaps:
        return Fact(what, "the whole period")
    return Fact(what, span(max(gaps)), more=f"counted from {day(moments[-1])}, the first on this page")


def _signatures(report: EvidenceReport) -> Fact:
    drills = report.drills
    if report.signers is None:
        having = sum(each.signature == UNCHECKED for each in drills)
        return Fact("Signatures", "not checked", more=f"{having:,} of {len(drills):,} have one; no key was named")
    keys = sorted({each.key for each in drills if each.key})
    signed = sum(each.signature == SIGNED for each in drills)
    return Fact("Signatures", f"{signed:,} of {len(drills):,} valid", more=", ".join(keys))
