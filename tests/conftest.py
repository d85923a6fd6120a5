"""Fixtures for all tests, and how they share the processes that run them."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.text import type_commands_as

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdist.remote import Producer
    from xdist.scheduler import Scheduling

pytest_plugins = ["support.engine", "support.postgres", "support.runs"]

# what `nohup` ignores, or a shell in the background (SIGINT), our children would ignore too
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def commands_as_typed_here() -> Iterator[None]:
    """A process is started in one way, but tests call commands in several: what one was called as ends with it."""
    yield
    type_commands_as("safeharbor")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pg", type=int, metavar="MAJOR", help="of tests on several servers' majors, only those on this one"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = config.getoption("--pg")
    if wanted is None:
        return
    others = [each for each in items if _major_of(each) not in (None, wanted)]
    config.hook.pytest_deselected(items=others)
    items[:] = [each for each in items if each not in set(others)]


def _major_of(item: pytest.Item) -> int | None:
    specification = getattr(item, "callspec", None)
    given = specification.params if specification is not None else {}
    major = given.get("major", given.get("each_server"))
    return major if isinstance(major, int) else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Every test for itself, but in one process those that share something: an engine of containers, or a browser."""
    from xdist.scheduler import LoadScopeScheduling

    class Shared(LoadScopeScheduling):  # type: ignore[misc] # it has no types
        def _split_scope(self, nodeid: str) -> str:
            return next((each for each in ("containers", "pages") if nodeid.startswith(f"tests/{each}/")), nodeid)

    return Shared(config, log)
