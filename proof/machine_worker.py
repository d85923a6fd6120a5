"""The process in which the machine of random verbs runs, over the package that it is given.

It reads a line of JSON for each sequence, `{"seed": 7, "steps": 40}`, and answers with a line: `{"violation": "…"}`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, get_state_machine_test, initialize, invariant, precondition, rule

from proof.machine_world import World

_KILL = st.one_of(st.none(), st.none(), st.floats(0, 1, exclude_max=True))
_NUMBER = st.integers(0, 5)
_KEY = st.integers(0, 7)
_VALUE = st.integers(1, 99)
_MOVES = st.sampled_from((86400, 86400, 86400, 8 * 86400, 3600, -2 * 86400, -1800))


class Machine(RuleBasedStateMachine):
    """An operator, an application and a host that do anything at any time."""

    place: Path
    arguments: tuple[str, str, str]
    worlds: list[World]
    found: list[str]

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None
        self.free_at = 0

    @initialize(number=st.integers(0, 1 << 30))
    def begin(self, number: int) -> None:
        if number == 0:
            return  # the simplest sequence, which always comes first
        self.world = World(self.place / "world", self.place / "space", *self.arguments)
        self.worlds.append(self.world)
        self.world.begin()
        for night in range(
            2
        ):  # hypothesis leaves some rules out of each sequence, and without archives nothing happens
            for key in range(4):
                self.world.do_write(key, number % 7 + night)
            self.world.do_backup(None)
            self.world.do_clock(86400)

    @property
    def w(self) -> World:
        assert self.world is not None
        return self.world

    @property
    def has_archives(self) -> bool:
        return self.world is not None and bool(self.world.archives)

    @property
    def is_at_rest(self) -> bool:
        return self.world is not None and self.world.pending is None

    @precondition(lambda self: self.world is None)
    @rule()
    def idle(self) -> None:
        pass

    @precondition(lambda self: self.is_at_rest)
    @rule(key=_KEY, value=_VALUE)
    def write(self, key: int, value: int) -> None:
        self.w.do_write(key, value)

    def write_if_open(self, key: int, value: int) -> None:
        """An application writes all the time, but not while a restore is interrupted."""
        if self.is_at_rest:
            self.w.do_write(key, value)

    @precondition(lambda self: self.is_at_rest)
    @rule(share=st.integers(2, 5))
    def delete(self, share: int) -> None:
        self.w.do_delete(share)

    @precondition(lambda self: self.world is not None)
    @rule(key=_KEY, value=_VALUE, kill=_KILL)
    def backup(self, key: int, value: int, kill: float | None) -> None:
        self.write_if_open(key, value)
        self.w.do_backup(kill)

    @precondition(lambda self: self.is_at_rest)
    @rule(nights=st.integers(1, 3), key=_KEY, value=_VALUE)
    def nights(self, nights: int, key: int, value: int) -> None:
        for night in range(nights):
            self.w.do_clock(86400)
            self.w.do_write(key, value + night)
            self.w.do_backup(None)
            self.w.do_prune(None, adopt=False)

    @precondition(lambda self: self.world is not None)
    @rule(kill=_KILL, adopt=st.booleans())
    def prune(self, kill: float | None, adopt: bool) -> None:
        self.w.do_prune(kill, adopt=adopt)

    @precondition(lambda self: self.has_archives)
    @rule(number=_NUMBER, kill=_KILL, away=st.booleans())
    def keep(self, number: int, kill: float | None, away: bool) -> None:
        self.w.do_keep(number, kill, away=away)

    @precondition(lambda self: self.has_archives)
    @rule(number=_NUMBER)
    def extract(self, number: int) -> None:
        self.w.do_extract(number)

    @precondition(lambda self: self.has_archives)
    @rule(number=_NUMBER)
    def verify(self, number: int) -> None:
        self.w.do_verify(number)

    @precondition(lambda self: self.has_archives and self.is_at_rest)
    @rule(chance=st.integers(0, 3))
    def drill(self, chance: int) -> None:
        if chance == 0:  # it takes as long as four others
            self.w.do_drill()

    @precondition(lambda self: self.has_archives)
    @rule(
        key=_KEY,
        value=_VALUE,
        number=st.one_of(st.none(), _NUMBER),
        kill=_KILL,
        how=st.sampled_from(("whole", "whole", "in place", "uploads", "unkept")),
    )
    def restore(self, key: int, value: int, number: int | None, kill: float | None, how: str) -> None:
        self.write_if_open(key, value)
        self.w.do_restore(number, kill, how=how)

    @precondition(lambda self: self.world is not None)
    @rule(kill=_KILL)
    def undo(self, kill: float | None) -> None:
        self.w.do_undo(kill)

    @precondition(lambda self: self.has_archives and self.is_at_rest)
    @rule(key=_KEY, number=_NUMBER, kills=st.tuples(_KILL, _KILL), how=st.sampled_from(("whole", "uploads")))
    def go_and_come_back(self, key: int, number: int, kills: tuple[float | None, float | None], how: str) -> None:
        """Restore, regret it, and type it again if it was interrupted."""
        self.write_if_open(key, 100)
        self.w.do_restore(number, kills[0], how=how)
        self.w.look()
        self.write_if_open(key, 200)
        self.w.do_undo(kills[1])
        self.w.look()
        if not self.is_at_rest:
            self.w.do_undo(None)

    @precondition(lambda self: self.world is not None)
    @rule(kill=_KILL)
    def resume(self, kill: float | None) -> None:
        self.w.do_resume(kill)

    @precondition(lambda self: self.world is not None)
    @rule(kill=_KILL)
    def discard(self, kill: float | None) -> None:
        self.w.do_discard(kill)

    @precondition(lambda self: self.world is not None)
    @rule(seconds=_MOVES)
    def clock(self, seconds: int) -> None:
        self.w.do_clock(seconds)

    @precondition(lambda self: self.has_archives)
    @rule(order=st.integers(0, 99))
    def lose_times(self, order: int) -> None:
        self.w.do_lose_times(order)

    @precondition(lambda self: self.has_archives)
    @rule(chance=st.integers(0, 2))
    def damage(self, chance: int) -> None:
        if chance == 0:
            self.w.do_damage()

    @precondition(lambda self: self.world is not None)
    @rule(steps=st.integers(1, 4))
    def fill(self, steps: int) -> None:
        self.w.do_fill(full=True)
        self.free_at = self.w.steps + steps

    @precondition(lambda self: self.has_archives and self.is_at_rest)
    @rule(chance=st.integers(0, 2))
    def move(self, chance: int) -> None:
        if chance == 0:
            self.w.do_move()

    @invariant()
    def holds(self) -> None:
        if self.world is not None:
            self.world.steps += 1
            if self.world.is_full and self.world.steps > self.free_at:
                self.world.do_fill(full=False)
            self.world.look()

    def teardown(self) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, Exception) and not self.found and self.world is not None:
            shown = "".join(traceback.format_exception_only(error)) + "".join(
                traceback.format_tb(error.__traceback__)[-2:]
            )
            self.found.append("\n".join([shown, *self.world.log[-60:], self.world.last]))
        if self.world is not None:
            self.world.do_fill(full=False)
            self.world.end()


def run(seed: int, steps: int) -> dict[str, Any]:
    """What a sequence of so many steps has come to."""
    Machine.worlds, Machine.found = [], []
    test = get_state_machine_test(
        Machine,
        settings=settings(
            max_examples=2,  # the first is the simplest one
            stateful_step_count=steps + 1,
            phases=[Phase.generate],
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
    hypothesis.seed(seed)(test)
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            test()
        except Exception as error:
            if not Machine.found:
                raise
            del error
    # hypothesis gives up some sequences, and tries one with a violation again
    worlds = Machine.worlds[:1] if Machine.found else Machine.worlds
    return {
        "violation": Machine.found[0] if Machine.found else "",
        "tallies": dict(sum((Counter(world.tallies) for world in worlds), Counter())),
        "steps": sum(world.steps for world in worlds),
    }


def main() -> None:
    Machine.place = Path(sys.argv[1])
    admin, owner, tools = sys.argv[2:]
    Machine.arguments = (admin, owner, tools)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what hypothesis prints is no answer
    for line in sys.stdin:
        answers.write(json.dumps(run(**json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
