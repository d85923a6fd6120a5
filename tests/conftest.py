"""Fixtures for all tests."""

from __future__ import annotations

pytest_plugins = ["support.engine", "support.postgres", "support.runs"]
