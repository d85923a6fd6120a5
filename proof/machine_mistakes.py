"""Mistakes that earlier versions made, or could have made, to be put back into a copy of the package."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mistake:
    """A change of one file below the package, and what it makes wrong."""

    title: str
    path: str
    changes: tuple[tuple[str, str], ...]

    def package(self, source: Path, place: Path) -> Path:
        """A copy of `source`, which is src/, with the mistake in it."""
        target = place / f"mistake-{abs(hash(self.title))}"
        if not target.exists():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        path = target / "safeharbor_backup" / self.path
        text = path.read_text()
        for right, wrong in self.changes:
            if text.count(right) != 1:
                raise LookupError(f"{self.path} has changed: there is no single {right!r} in it")
            text = text.replace(right, wrong)
        path.write_text(text)
        return target


CONTROL = Mistake(
    "the uploads stay as they were",
    "actions/restore/upload_stages.py",
    (("        if mark == Mark(side, SwapPhase.AT_REST):", "        if mark:"),),
)
MISTAKES = (
    Mistake(
        "a killed undo, typed again, turns round",
        "actions/restore/interrupted.py",
        (
            (
                "    if not record.by_undo:  # a restore: back; an undo goes on",
                "    if True:",
            ),
            (
                "towards=Side.OLD)\n    swap.require_both()\n    swap.begin(",
                "towards=record.towards.other)\n    swap.require_both()\n    swap.begin(",
            ),
        ),
    ),
    Mistake(
        "undo takes the oldest restore, not the newest",
        "actions/restore/recovery.py",
        (("not record.is_undone] or kept)[-1]", "not record.is_undone] or kept)[0]"),),
    ),
    Mistake(
        "an exchange of uploads that has begun counts as done",
        "actions/restore/upload_stages.py",
        (("        if mark == Mark(side, SwapPhase.AT_REST):", "        if mark.going is side:"),),
    ),
    Mistake(
        "a backup runs while a restore is interrupted",
        "actions/preflight.py",
        (
            (
                "    if pending is not None:\n        raise pending.pending_error()",
                "    if pending is not None:\n        return",
            ),
        ),
    ),
    Mistake(
        "a prune does not look whether the newest archive is damaged or short",
        "actions/prune.py",
        (("hold = hold or unread or judge_retention(settings)", "hold = judge_retention(settings)"),),
    ),
    Mistake(
        "a damaged archive takes the place of a good one",
        "actions/catalog/retention.py",
        (("[each for each in candidates if each.condition is Condition.SOUND]", "list(candidates)"),),
    ),
    Mistake(
        "a copy that lost the times decides what goes",
        "actions/catalog/retention.py",
        (("if orders_disagree(candidates):", "if not candidates:"),),
    ),
    Mistake(
        "a kept archive is pruned",
        "state/marks.py",
        (("        return True\n    return True\n", "        return True\n    return False\n"),),
    ),
    Mistake(
        "a new host's empty archive is taken for latest",
        "actions/catalog/latest.py",
        (
            (
                "    if short is not None:\n        return Passed",
                "    if short is not None and not entry:\n        return Passed",
            ),
        ),
    ),
    Mistake(
        "an archive from the future is taken for latest",
        "actions/catalog/latest.py",
        (("    if is_from_future(entry, now):", "    if not entry:"),),
    ),
)
