"""Fixtures for all tests, and how they share the processes that run them."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import Scheduling

pytest_plugins = ["support.engine", "support.postgres", "support.runs"]

# what `nohup` ignores, our children would ignore too
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Every test for itself, but in one process those that share something: an engine of containers, or a browser."""
    from xdist.scheduler import LoadScopeScheduling

    class Shared(LoadScopeScheduling):  # type: ignore[misc] # it has no types
        def _split_scope(self, nodeid: str) -> str:
            return next((each for each in ("containers", "pages") if nodeid.startswith(f"tests/{each}/")), nodeid)

    return Shared(config, log)
