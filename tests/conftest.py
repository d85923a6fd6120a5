"""Fixtures for all tests."""

from __future__ import annotations

import signal

pytest_plugins = ["support.engine", "support.postgres", "support.runs"]

# what `nohup` ignores, our children would ignore too
signal.signal(signal.SIGHUP, signal.SIG_DFL)
