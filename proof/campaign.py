"""What a campaign is: numbered cases, each of which breaks something and asserts what is promised; and a control."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Self

from support.postgres import Servers


class Missed(Exception):
    """What the case was to cause has not happened, so it proves nothing and does not count."""


@dataclass(frozen=True)
class Surroundings:
    """What campaigns share. `place` is an empty directory of this sitting; `memory` one that later sittings find again.

    `memory` belongs to one campaign, one seed and one state of the sources.
    """

    place: Path
    memory: Path
    servers: Servers
    seed: str
    is_small: bool = False  # a few cases for CI: nothing is to be prepared that only others need


class Campaign(ABC):
    """One way to attack: a class of this kind named `Cases` in the module `proof/NAME.py`.

    A violation is any exception that `run` raises, an AssertionError as a rule. Two runs of one number with the same
    seed do the same.
    """

    promise: ClassVar[str]  # what is promised, a sentence of the page
    attack: ClassVar[str]  # how that is attacked
    in_ci: ClassVar[int]  # how many cases CI runs: 20 to 30 seconds of them
    weight: ClassVar[int] = 1  # how many runs one case counts as

    def __init__(self, surroundings: Surroundings) -> None:
        self.place = surroundings.place
        self.memory = surroundings.memory
        self.servers = surroundings.servers
        self.seed = surroundings.seed
        self.is_small = surroundings.is_small
        self.until_end = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.until_end.close()

    @property
    @abstractmethod
    def count(self) -> int:
        """How many cases there are; where there is no end to them, how many are wanted."""

    @property
    def numbers(self) -> Sequence[int]:
        """What the cases are numbered by."""
        return range(self.count)

    def is_for_ci(self, number: int) -> bool:
        """Whether CI may take that case."""
        return True

    @abstractmethod
    def run(self, number: int, chance: Random) -> Mapping[str, int]:
        """Do the case; what it came to, to be added up over all cases: `{"killed": 1}`. Raises Missed, or anything."""

    @abstractmethod
    def control(self) -> None:
        """Cases with a known mistake. It must raise, as `run` would: what finds nothing here finds nothing at all."""

    @classmethod
    def facts(cls, tallies: Mapping[str, int]) -> dict[str, Any]:
        """What figures.json has of this campaign beside the usual, such as a score."""
        return {}

    @classmethod
    def page(cls, figures: Mapping[str, Any]) -> str:
        """What docs/how-it-is-tested.md says of the figures beside the row of the table: Markdown."""
        return ""
