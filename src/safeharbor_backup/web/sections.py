"""The parts of the page above the list of archives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.errors import ExitStatus
from safeharbor_backup.text import plural, show_bytes
from safeharbor_backup.web.commands import name_to_restore, restore_commands, show_command, show_commands
from safeharbor_backup.web.format import UNKNOWN, ago, size, time_of, took
from safeharbor_backup.web.markup import Html, element, joined
from safeharbor_backup.web.verdict import State

if TYPE_CHECKING:
    from datetime import datetime

    from safeharbor_backup.web.document import Document, Run
    from safeharbor_backup.web.verdict import Verdict

# each state has a shape of its own, beside its colour and its word
_SHAPES = {
    State.GOOD: "M7 12.5l3.5 3.5L17.5 8.5",
    State.WAITING: "M12 7v5.5l3.5 2",
    State.WARNING: "M12 6.5v7m0 3.2v.3",
    State.FAILED: "M8 8l8 8m0-8l-8 8",
    State.STALE: "M12 7v5.5l-3.5 2",
    State.INTERRUPTED: "M9.5 7.5v9m5-9v9",
    State.UNKNOWN: "M9.2 9.6a2.8 2.8 0 1 1 4.2 2.4c-.9.6-1.4 1-1.4 2.1m0 3v.3",
}
_RUNS = 40


def show_verdict(verdict: Verdict) -> Html:
    """The state in one sentence and one colour."""
    sign = element(
        "svg",
        element("circle", cx=12, cy=12, r=10.5),
        element("path", d=_SHAPES[verdict.state]),
        class_="sign",
        viewBox="0 0 24 24",
        aria_hidden="true",
        focusable="false",
    )
    return element(
        "div",
        sign,
        element(
            "div",
            element("p", f"Backups: {verdict.state.value}", class_="word"),
            element("h1", verdict.sentence),
            element("p", verdict.explanation, class_="lead"),
            element("ul", *(element("li", reason) for reason in verdict.reasons), class_="reasons")
            if verdict.reasons
            else None,
        ),
        class_="verdict",
    )


def show_facts(document: Document, now: datetime) -> Html:
    """What an operator asks next: when, how proven, how much room."""
    newest = document.newest
    facts = [
        (
            "Newest archive",
            ago(newest.taken_at, now) if newest else "none",
            time_of(newest.taken_at) if newest else None,
        ),
        _next_backup(document, now),
        _proof("Last verify", document.last_verify, now, "every byte read and compared"),
        _proof("Last drill", document.last_drill, now, "restored on trial and compared"),
        _room(document),
    ]
    return element(
        "dl",
        *(
            element(
                "div", element("dt", name), element("dd", told), element("dd", more, class_="more") if more else None
            )
            for name, told, more in facts
        ),
        class_="facts",
    )


def _next_backup(document: Document, now: datetime) -> tuple[str, str, str | None]:
    moment = document.next_backup
    zone = f"{document.schedule} ({document.timezone or 'UTC'})" if document.schedule else None
    if moment is None:
        return "Next backup", UNKNOWN, zone
    return "Next backup", ago(moment, now) if moment > now else "due now", time_of(moment)


def _proof(name: str, run: Run | None, now: datetime, meaning: str) -> tuple[str, str, str | None]:
    if run is None:
        return name, "never", meaning
    result = "Failed"
    if run.is_success:
        result = "Passed" if run.exit_status == ExitStatus.DONE else "With warnings"
    return name, f"{result} {ago(run.started_at, now)}", joined((time_of(run.started_at), f", in {took(run.seconds)}"))


def _room(document: Document) -> tuple[str, str, str | None]:
    if document.free_bytes is None:
        return "Room left", UNKNOWN, None
    fits = None if document.fits is None else f"for {plural(document.fits, 'more archive')}"
    if document.fits is not None and document.next_archive_bytes is not None:
        each = show_bytes(document.next_archive_bytes)
        fits = (
            f"for {plural(document.fits, 'more archive')} of {each}" if document.fits else f"the next one needs {each}"
        )
    return "Room left", show_bytes(document.free_bytes), fits


def show_interrupted(document: Document) -> Html | None:
    """The restore that waits, and the two ways out of it."""
    pending = document.interrupted
    if pending is None and document.health != "interrupted":
        return None
    which: tuple[str, ...] = ("A restore",)
    if pending is not None:
        begun = (", begun ", time_of(pending.started_at)) if pending.started_at else ()
        which = ("The restore ", element("code", pending.id), " of ", element("code", pending.archive), *begun, ",")
    ways = " waits to be settled. The first command finishes it, the second goes back to the state before."
    return element(
        "div",
        element("p", *which, ways),
        show_commands("restore --resume", "restore --undo"),
        class_="notice",
    )  # fmt: skip


def show_failure(document: Document, now: datetime) -> Html | None:
    """The newest failure that nothing has made good since."""
    run = document.last_failure
    if run is None:
        return None
    when = time_of(run.started_at, ago(run.started_at, now))
    return element(
        "div",
        element("p", element("b", f"The last {run.command or 'run'} failed "), when,
                f" with exit status {run.exit_status}, after {took(run.seconds)}."),
        element("p", run.reason, class_="reason") if run.reason else None,
        class_="notice bad",
    )  # fmt: skip


def show_restore(document: Document) -> Html | None:
    """How to get the newest archive back that can be relied on."""
    name = name_to_restore(document)
    others = document.latest.others if document.latest is not None else ()
    told = element("ul", *(element("li", other) for other in others), class_="reasons") if others else None
    if not name:
        return told
    steps = (
        "Stop the app, so that nobody writes meanwhile.",
        "The first command proves the archive and tells what would be lost. It changes nothing.",
        "The second asks once, and then restores all of it, or nothing. What was live is kept.",
    )
    return element(
        "div",
        element("ol", *(element("li", step) for step in steps), class_="steps"),
        show_commands(*restore_commands(name, document)),
        element("p", f"This is {name}. Not meant, and why:", class_="after") if others else None,
        told,
        element("p", "If it was wrong, ", show_command("restore --undo"), " goes back.", class_="after"),
    )


def show_kept(document: Document, now: datetime) -> Html | None:
    """What restores keep, what it costs, and how to get it back or be rid of it."""
    if not document.kept:
        return None
    rows = []
    for kept in document.kept:
        what = "The restored state, taken back by an undo," if kept.is_undone else "The state before the restore"
        when = (" of ", time_of(kept.restored_at), f", {ago(kept.restored_at, now)}") if kept.restored_at else ()
        slots = f" {plural(kept.logical_slots, 'logical slot')} in it hold back WAL." if kept.logical_slots else ""
        rows.append(
            element(
                "li",
                element("p", element("b", what), *when, f": {size(kept.size_bytes)}.{slots}"),
                element("p", "To exchange it with what is live: ", show_command(f"restore --undo --id {kept.id}")),
                element("p", "To free its room for ever: ", show_command(f"restore --discard-previous --id {kept.id}")),
            )
        )
    return element("ul", *rows, class_="kept")


def show_retention(document: Document) -> Html | None:
    """What the next backup will delete, and what keeps it from deleting."""
    going = document.next_deleted
    told = [element("li", warning) for warning in document.retention_warnings]
    if going:
        names = joined((element("code", name) for name in going[:5]), ", ")
        rest = f" and {len(going) - 5:,} more" if len(going) > 5 else ""
        told.append(element("li", "The next backup deletes ", names, rest, "."))
    return element("ul", *told, class_="retention") if told else None


def show_runs(document: Document) -> Html | None:
    """How the newest runs ended, as a table: also what the charts show, for whoever cannot see them."""
    runs = document.history[::-1][:_RUNS]
    if not runs:
        return None
    heads = ("Started", "Command", "Took", "Size", "Ended")
    rows = [
        element(
            "tr",
            element("th", time_of(run.started_at), scope="row"),
            element("td", run.command),
            element("td", took(run.seconds), class_="n"),
            element("td", "" if run.size_bytes is None else show_bytes(run.size_bytes), class_="n"),
            element("td", *_ending(run)),
        )
        for run in runs
    ]
    head = element("tr", *(element("th", name, scope="col") for name in heads))
    table = element("table", element("thead", head), element("tbody", *rows), class_="runs")
    title = f"The newest {plural(len(runs), 'run')} as a table" if len(runs) > 1 else "The newest run as a table"
    return element("details", element("summary", title), element("div", table, class_="content"), class_="numbers")


def _ending(run: Run) -> tuple[Html, str]:
    if run.exit_status == ExitStatus.DONE:
        return element("span", "done", class_="badge ok"), ""
    if run.is_success:
        return element("span", "with warnings", class_="badge warn"), f" {run.warnings[0]}" if run.warnings else ""
    return element("span", f"failed, {run.exit_status}", class_="badge bad"), f" {run.reason}"
