"""Whom to tell how runs end: addresses that hold tokens, and so are shown nowhere."""

from __future__ import annotations

import re
from enum import StrEnum
from urllib.parse import urlsplit

VARIABLES_OF_ALERTS = ("BACKUP_NOTIFY_URLS", "BACKUP_NOTIFY_ON", "BACKUP_PING_URL")


class NotifyOn(StrEnum):
    """Which ends of runs are worth a message."""

    FAILURE = "failure"
    WARNING = "warning"
    ALWAYS = "always"


def split_notify_urls(text: str) -> tuple[str, ...]:
    """The addresses in a setting: each begins with `scheme://` and may itself hold commas."""
    return tuple(part for part in re.split(r"[\s,]+(?=[A-Za-z][A-Za-z0-9+.-]*://)", text.strip()) if part)


def redacted_name(number: int, url: str) -> str:
    """An address as it may be shown: which one it is and what it begins with, such as `number 2 (discord)`."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", url)
    return f"number {number} ({scheme[1] if scheme else 'no scheme'})"


def judge_notify_urls(text: str) -> str:
    """What is wrong with the form of some, with no word of theirs; empty if nothing is."""
    broken = [
        redacted_name(number, url)
        for number, url in enumerate(split_notify_urls(text), 1)
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://\S+", url)
    ]
    return f"addresses such as mailto://…, separated by spaces; {', '.join(broken)} is not one" if broken else ""


def judge_ping_url(url: str) -> str:
    """What was expected instead; empty if it can be used."""
    expected = "an http or https URL with a host, without user, fragment, blanks and control characters"
    if not re.fullmatch(r"[!-~]+", url):
        return expected
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return expected
    return "" if is_usable and "@" not in parts.netloc and not parts.fragment else expected
