"""`make prove`: runs the campaigns, adds up what they came to, and writes the tables of docs/how-it-is-tested.md."""

from __future__ import annotations

import argparse
import signal
import sys
import time

from proof.figures import Entry, pages_with_figures, table, write_pages
from proof.registry import NAMES
from proof.runner import opened, prove, run_case

_MOST_MINUTES = 60.0  # of one part in one sitting


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m proof", description=__doc__)
    parser.add_argument("--minutes", type=float, help="time for all parts together; without it, an hour for each")
    parser.add_argument("--seed", default="1", help="which cases come first, and what chance decides in them")
    parser.add_argument("--part", default=",".join(NAMES), help=f"of {', '.join(NAMES)}: some, with commas between")
    parser.add_argument("--case", type=int, help="only this case of the part, to see a violation again")
    parser.add_argument("--check", action="store_true", help="only compare the page with the figures")
    parser.add_argument("--page", action="store_true", help="only write the page from the figures")
    arguments = parser.parse_args()
    if arguments.page:
        write_pages()
        return
    if arguments.check:
        other = [str(page) for page, text in pages_with_figures().items() if page.read_text() != text]
        sys.exit(f"{', '.join(other)}: not what figures.json says; `make format` mends it" if other else None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # mounts and servers end with it
    parts = arguments.part.split(",")
    if unknown := set(parts) - set(NAMES):
        sys.exit(f"There is no part {', '.join(sorted(unknown))}. There are: {', '.join(NAMES)}.")
    if arguments.case is not None:
        with opened(parts[0], arguments.seed) as cases:
            print(dict(run_case(cases, arguments.case)))
        return
    done = _all(parts, arguments.seed, arguments.minutes)
    print(table(done))
    if any(entry["violations"] or not entry["control_failed"] for entry in done.values()):
        sys.exit(1)


def _all(parts: list[str], seed: str, minutes: float | None) -> dict[str, Entry]:
    """What each came to. Time that one does not need is for those after it."""
    end = None if minutes is None else time.monotonic() + minutes * 60
    done = {}
    for number, name in enumerate(parts):
        seconds = _MOST_MINUTES * 60
        if end is not None:
            seconds = min(seconds, (end - time.monotonic()) / (len(parts) - number))
        print(f"{name}: at most {seconds / 60:.1f} minutes, seed {seed}", flush=True)
        done[name] = prove(name, seed, seconds)
    return done


if __name__ == "__main__":
    main()
