"""Runs the cases of a campaign in an order that the seed gives, from where an earlier sitting stopped."""

from __future__ import annotations

import random
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from proof.campaign import Campaign, Missed, Surroundings
from proof.figures import ROOT, Entry, begun, record, source_digest
from proof.registry import campaign
from support.postgres import Servers

_RECORD_SECONDS = 60.0
_SHOWN_LINES = 12


def prove(name: str, seed: str, seconds: float) -> Entry:
    """What this campaign has come to after so many seconds more; figures.json has it too."""
    entry = begun(name, seed)
    started = saved = time.monotonic()
    spent = entry["seconds"]
    with opened(name, seed) as cases:
        entry["cases"] = cases.count
        if not entry["control_failed"]:
            entry["control_failed"] = control_fails(cases)
        order = in_order(cases, seed)
        while entry["next"] < len(order) and time.monotonic() - started < seconds:
            _run_one(name, cases, order[entry["next"]], entry)
            entry["next"] += 1
            entry["seconds"] = round(spent + time.monotonic() - started)
            if time.monotonic() - saved > _RECORD_SECONDS:
                record(name, entry)
                print(f"{name}: {progress(entry)}", flush=True)
                saved = time.monotonic()
    print(f"{name}: {progress(entry)}", flush=True)
    return record(name, entry)


def opened(name: str, seed: str, servers: Servers | None = None, *, is_small: bool = False) -> Campaign:
    """The campaign, to be entered; what it needs ends with it. `is_small`: only a few cases will be run."""
    memory = ROOT / ".cache" / "proof" / f"{name}-{seed}-{source_digest()}"
    memory.mkdir(parents=True, exist_ok=True)
    place = tempfile.TemporaryDirectory(prefix=f"proof-{name}-", ignore_cleanup_errors=True)
    shared = servers or Servers()
    cases = campaign(name)(Surroundings(Path(place.name), memory, shared, seed, is_small=is_small))
    cases.until_end.callback(place.cleanup)
    if servers is None:
        cases.until_end.callback(shared.close)
    return cases


def in_order(cases: Campaign, seed: str) -> list[int]:
    """All numbers of cases, mixed by the seed."""
    order = list(cases.numbers)
    random.Random(f"{seed} {type(cases).__module__}").shuffle(order)
    return order


def run_case(cases: Campaign, number: int) -> Counter[str]:
    """What the case came to. Raises Missed, and anything at a violation."""
    return Counter(cases.run(number, random.Random(f"{cases.seed} {type(cases).__module__} {number}")))


def control_fails(cases: Campaign) -> bool:
    """Whether the known mistake is found."""
    try:
        cases.control()
    except Exception as error:
        print(f"{type(cases).__module__}: the control failed, as it must: {_first_line(error)}", flush=True)
        return True
    print(f"{type(cases).__module__}: THE CONTROL DID NOT FAIL: this campaign finds nothing", flush=True)
    return False


def progress(entry: Entry) -> str:
    """A line about it."""
    return (
        f"{entry['next']} of {entry['cases']} cases, {entry['runs']} runs, {entry['violations']} violations, "
        f"{entry['missed']} that did not come about, {entry['seconds']} s"
    )


def _run_one(name: str, cases: Campaign, number: int, entry: Entry) -> None:
    try:
        came_to = run_case(cases, number)
    except Missed:
        entry["missed"] += 1
        return
    except Exception as error:
        entry["violations"] += 1
        entry["found"].append(f"case {number}: {_first_line(error)}")
        shown = "".join(traceback.format_exception(error)[-_SHOWN_LINES:])
        print(f"VIOLATION\n{shown}again: make prove PART={name} SEED={cases.seed} CASE={number}", flush=True)
        came_to = Counter()
    entry["runs"] += cases.weight
    entry["tallies"] = dict(sorted((Counter(entry["tallies"]) + came_to).items()))


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]
