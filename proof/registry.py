"""The campaigns there are, in the order in which they run."""

from __future__ import annotations

import importlib
import importlib.util

from proof.campaign import Campaign

_ALL = (
    *("faults", "kills", "power_cuts", "machine", "years"),
    *("hostile", "fuzz", "mutation", "compatibility"),
)
NAMES = tuple(name for name in _ALL if importlib.util.find_spec(f"proof.{name}") is not None)


def campaign(name: str) -> type[Campaign]:
    """The class of that campaign."""
    found: type[Campaign] = importlib.import_module(f"proof.{name}").Cases
    return found
