"""What all sittings came to: docs/proof/figures.json, and the tables of docs/how-it-is-tested.md made of it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from proof.registry import NAMES, campaign

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "proof" / "figures.json"
APP_FIGURES = ROOT / "docs" / "proof" / "apps.json"
PAGE = ROOT / "docs" / "how-it-is-tested.md"
APPS_PAGE = ROOT / "docs" / "apps.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"

Entry = dict[str, Any]


def source_digest() -> str:
    """Which code is tested: a digest of all files below src/."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "src").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(ROOT)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:12]


def begun(name: str, seed: str) -> Entry:
    """How far this campaign has come with this seed and this code; a fresh entry if that is nowhere."""
    found: Entry = _read()["campaigns"].get(name, {})
    if (found.get("seed"), found.get("source")) == (seed, source_digest()):
        return found
    counts = dict.fromkeys(("runs", "violations", "missed", "cases", "next", "seconds"), 0)
    return {**counts, "seed": seed, "source": source_digest(), "control_failed": False, "tallies": {}, "found": []}


def record(name: str, entry: Entry) -> Entry:
    """Write the entry of one campaign, and the page; the entry as it was written."""
    now, commit = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", _commit()
    entry = {**entry, **campaign(name).facts(entry["tallies"]), "commit": commit, "date": now}
    with _alone():
        document = _read()
        document.update(commit=commit, date=now)
        document["campaigns"][name] = entry
        FIGURES.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
        write_pages()
    return entry


@contextmanager
def _alone() -> Iterator[None]:
    """Parts may run side by side, and have one file."""
    place = ROOT / ".cache" / "proof"
    place.mkdir(parents=True, exist_ok=True)
    with (place / "figures.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_pages() -> None:
    """Write what pages say of the figures."""
    for page, text in pages_with_figures().items():
        page.write_text(text)


def pages_with_figures() -> dict[Path, str]:
    """The pages as the figures would have them."""
    campaigns = _read()["campaigns"]
    return {
        PAGE: _between(PAGE, f"\n{_tables(campaigns)}\n"),
        README: _between(README, _sentence(campaigns)),
        APPS_PAGE: _between(APPS_PAGE, f"\n{_applications()}\n"),
    }


def _between(page: Path, text: str) -> str:
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + text + END + after


def _sentence(campaigns: dict[str, Entry]) -> str:
    """Three numbers for the README."""
    runs = {name: campaigns.get(name, {"runs": 0})["runs"] for name in ("faults", "kills", "power_cuts")}
    broken = sum(campaigns[name]["violations"] for name in runs if name in campaigns)
    if not all(runs.values()):  # not yet run on this code
        return "[How it is tested](docs/how-it-is-tested.md): each promise, how it is attacked, what was found.\n"
    calls, kills, cuts = runs.values()
    return (
        f"Campaigns made {calls:,} system calls fail, killed it or its server {kills:,} times, and cut the\n"
        f"power {cuts:,} times: {broken} broken promises. "
        "[How it is tested](docs/how-it-is-tested.md), in numbers.\n"
    )


def table(campaigns: dict[str, Entry]) -> str:
    """One row for each campaign that has run."""
    rows = ["| campaign | runs | violations | its control | seed | commit | date |", "|---|--:|--:|---|---|---|---|"]
    for name in NAMES:
        if (entry := campaigns.get(name)) is not None:
            control = "failed, as it must" if entry["control_failed"] else "**not run**"
            rows.append(
                f"| {name} | {entry['runs']:,} | {entry['violations']} | {control} | {entry['seed']} "
                f"| `{entry['commit']}` | {entry['date'][:10]} |"
            )
    return "\n".join(rows) + "\n"


def _tables(campaigns: dict[str, Entry]) -> str:
    attacks = ["| campaign | promise | attack |", "|---|---|---|"]
    attacks += [f"| {name} | {campaign(name).promise} | {campaign(name).attack} |" for name in NAMES]
    more = [campaign(name).page(campaigns[name]) for name in NAMES if name in campaigns]
    return "\n".join(["\n".join(attacks) + "\n", table(campaigns), *filter(None, more)])


def _applications() -> str:
    """What `make apps` came to with each application."""
    rows = [
        "| application | of | Safe Harbor is | tables | files and directories | restored, undone, and back | date |",
        "|---|---|---|--:|--:|---|---|",
    ]
    known: dict[str, Entry] = json.loads(APP_FIGURES.read_text()) if APP_FIGURES.exists() else {}
    for name, row in sorted(known.items(), key=lambda each: each[0].lower()):
        result = row["result"].replace("|", " ")
        beside = "in an environment of its own" if row["elsewhere"] else "beside it"
        rows.append(
            f"| {name} {row.get('version', '')} | {row['framework']} {row.get('of_framework', '')} | {beside} "
            f"| {row.get('tables', '')} | {row.get('entries', '')} | {result} | {row['date']} |"
        )
    return "\n".join(rows) + "\n"


def _read() -> dict[str, Any]:
    if not FIGURES.exists():
        return {"commit": "", "date": "", "campaigns": {}}
    found: dict[str, Any] = json.loads(FIGURES.read_text())
    return found


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], cwd=ROOT, capture_output=True, check=False)
    return done.stdout.decode().strip() or "unknown"
