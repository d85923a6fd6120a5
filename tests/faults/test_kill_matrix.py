"""Every verb of a restore killed, then another one over what it left, then what the messages say: one whole state.

The model knows which state was asked for last. Points are sampled; another SAFEHARBOR_SEED tries others.
"""

from __future__ import annotations

import os
import random
import re
import signal
from dataclasses import dataclass, field

import pytest

from safeharbor_backup.state.journal import Journal, find_interrupted
from safeharbor_backup.state.restore_record import Phase, RestoreRecord
from support.kills import Rig, calls_of, killing, traced, wholly
from support.postgres import Database
from support.runs import Outcome, Site
from support.states import State

_SECOND = ("nothing", "again", "resume", "undo", "discard")
_TOLD = re.compile(r"`safeharbor restore (--undo|--resume)`")
_COUNTED = ("renameat2", "rename", "unlink", "unlinkat", "rmdir", "fsync", "sendto")
# calls that a short command has: the second one is not counted beforehand
_USUAL = {"renameat2": [1, 2, 4], "rename": [1, 2, 3], "unlinkat": [1, 2, 3], "rmdir": [1], "fsync": [1, 2, 3, 5, 8]}

Calls = dict[str, list[int]]


@dataclass
class Model:
    """Which states there are, and what was asked for last. `old`: what was live before each restore, by its id."""

    new: State
    live: State
    goal: State
    before: State
    old: dict[str, State] = field(default_factory=dict)
    is_pending: bool = False

    def ask(self, verb: str, record: RestoreRecord | None, kept: list[RestoreRecord]) -> None:
        """A command is typed; `record` is what it meets interrupted, `kept` what it meets at rest."""
        if record is not None:
            if verb == "undo" and not record.by_undo:
                self.goal = self.old[record.id]
            return  # a resume goes on; everything else is refused
        self.before = self.goal = self.live
        if verb in ("restore", "in place"):
            self.goal = self.new
        if verb == "undo" and kept:
            chosen = ([each for each in kept if not each.is_undone] or kept)[-1]
            if not chosen.in_place:
                self.goal = self.new if chosen.is_undone else self.old[chosen.id]

    def met(self, record: RestoreRecord | None) -> None:
        """What the journal says after it."""
        if record is not None and record.id not in self.old:
            self.old[record.id] = self.before


class Walk:
    """Some commands over one site, most of them killed."""

    def __init__(self, rig: Rig, chance: random.Random, seed: str) -> None:
        self.rig = rig
        self.chance = chance
        live = rig.changed()
        self.model = Model(rig.new, live, live, live)
        self.story = [seed]
        self.kills = 0
        self.in_place = "in place" in rig.options

    @property
    def _pending(self) -> RestoreRecord | None:
        return find_interrupted(self.rig.site.backups)

    @property
    def _kept(self) -> list[RestoreRecord]:
        return [each for each in Journal(self.rig.site.backups).read() if each.phase is Phase.KEPT]

    def whole(self, verb: str) -> None:
        """Type a command and let it end."""
        self.model.ask(verb, self._pending, self._kept)
        done = self.rig.site.run("restore", *self.arguments(verb))
        self.story.append(f"{verb}: {done.status}")
        self._look(done.status)

    def killed(self, verb: str, calls: Calls | None = None) -> None:
        """Type a command that dies at some step, or at one of the calls (those counted before, or usual ones)."""
        self.model.ask(verb, self._pending, self._kept)
        if calls is None and verb != "discard" and self.chance.random() < 0.5:
            most = 12 if verb in ("restore", "in place") else 4
            number = self.chance.randint(1, most)
            killed = self.rig.kill("restore" if verb == "in place" else verb, number, may_be_refused=True)
            self.story.append(f"{verb}: {killed.where}, {'ended' if killed.has_ended else 'killed'}")
            self.kills += not killed.has_ended
            self._look(0 if killed.has_ended and not killed.is_refused else -signal.SIGKILL)
            return
        usual = calls or _USUAL
        call = self.chance.choice(sorted(usual))
        when = self.chance.choice(usual[call])
        status = traced(self.rig.site, *killing(call, when), verb=self.arguments(verb))
        self.story.append(f"{verb} killed at {call} {when}: {status}")
        self.kills += status == -signal.SIGKILL
        self._look(status)

    def count(self, verb: str) -> Calls:
        """Type a command and let it end; its calls that are lasting, or speak with the server."""
        self.model.ask(verb, self._pending, self._kept)
        found: Calls = {}
        for name, number in calls_of(self.rig.site, *self.arguments(verb)):
            if name in _COUNTED:
                found.setdefault(name, []).append(number)
        self.story.append(f"{verb} counted")
        self._look(0)
        return found

    def heal(self) -> None:
        """Type what the messages say, one of their choices by chance: soon a backup can be taken."""
        for _ in range(4):
            refused = self.rig.site.run("backup", "--no-prune")
            if refused.status == 0:
                break
            assert refused.status == 9, (self.story, refused.output)
            told = self.chance.choice(_TOLD.findall(refused.stderr)).removeprefix("--")
            before = self._pending
            self.model.ask(told, before, [])
            done = self.rig.recover(told)
            self.story.append(f"told {told}: {done.status} {done.stdout.strip()}")
            assert done.status == 0, (self.story, done.output)
            self._says_what_is_live(done)
            self._look(0, may_be_either=before is not None and before.in_place)
        else:
            raise AssertionError(("a dead end", self.story))
        self.rig.settled(str(self.story), with_backup=False)
        wholly(self.rig, self.model.live, str(self.story))

    def arguments(self, verb: str) -> tuple[str, ...]:
        restore = ("--from", str(self.rig.archive), "--yes", "--jobs", "2")
        return {
            "restore": restore,
            "in place": (*restore, "--in-place"),
            "undo": ("--undo",),
            "resume": ("--resume",),
            "discard": ("--discard-previous", "--yes"),
        }[verb]

    def _look(self, status: int, *, may_be_either: bool = False) -> None:
        """Where it has come to: at rest it is wholly the goal, or, if it did not end well, wholly what was before."""
        record = self._pending
        self.model.met(record)
        was_pending, self.model.is_pending = self.model.is_pending, record is not None
        if record is not None:
            return
        found = self.rig.state()
        allowed = [self.model.goal]
        if status != 0 or may_be_either or (self.in_place and was_pending):
            allowed.append(self.model.before)
        assert any(found == each for each in allowed), (self.story, "mixed" if found not in self._all else "turned")
        for each in self._kept:
            self.model.old.setdefault(each.id, self.model.before)
        self.model.live = found

    @property
    def _all(self) -> list[State]:
        return [self.model.new, self.model.live, *self.model.old.values()]

    def _says_what_is_live(self, done: Outcome) -> None:
        if "Now live: the restored data" in done.stdout:
            wholly(self.rig, self.model.new, str(self.story))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("first", ["restore", "in place", "undo", "resume", "discard"])
def test_two_commands_killed_one_after_the_other_end_in_the_state_that_was_asked_for_last(
    site: Site, database: Database, first: str
) -> None:
    seed = os.environ.get("SAFEHARBOR_SEED", "1")
    chance = random.Random(f"{seed} {first}")
    rig = Rig(site, database, *(["in place"] if first == "in place" else []))
    kills = 0
    counted = Walk(rig, chance, "counted")
    _come_to(counted, first)
    calls = counted.count(first)
    for second in _SECOND:
        walk = Walk(rig, chance, f"SAFEHARBOR_SEED={seed}")
        _come_to(walk, first)
        walk.killed(first, calls)
        if second != "nothing":
            walk.killed(first if second == "again" else second)
        walk.heal()
        kills += walk.kills
    assert kills >= len(_SECOND), "hardly anything was killed"


def _come_to(walk: Walk, first: str) -> None:
    """What there has to be for that command: something kept, or something interrupted."""
    if first in ("undo", "discard"):
        walk.whole("restore")
    while first == "resume" and not walk.model.is_pending:
        walk.killed("restore")
