"""Messages to people, through Apprise: mail, chat, phone.

Apprise is imported when something is to be sent. The addresses hold tokens: what is told of them is their number and
what they begin with, and what Apprise says of a failure is searched for their parts.
"""

from __future__ import annotations

import logging
import re
import threading
import time
import warnings
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote

from safeharbor_backup.errors import one_line
from safeharbor_backup.settings.alerts import redacted_name
from safeharbor_backup.system.timeouts import run_within

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import apprise

SECONDS = 20.0  # a server of mail may think for a while before it takes a message
MISSING = "Apprise is not installed; type: pip install apprise"
_LATE = f"no answer within {SECONDS:.0f} s"
_REDACTED = "***"
_REASON = "Socket Exception: "  # how Apprise's plugins begin the line that has it
_REASON_LIMIT = 200


class Kind(StrEnum):
    """What a message is, for services that colour it; the values are Apprise's."""

    FAILURE = "failure"
    WARNING = "warning"
    SUCCESS = "success"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Message:
    """A message: its title, text and kind."""

    subject: str
    body: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Delivery:
    """How one delivery ended; `problem` is empty if the receiver accepted it."""

    way: str
    problem: str
    seconds: float


def send_message(message: Message, urls: Sequence[str], *, seconds: float = SECONDS) -> tuple[Delivery, ...]:
    """Send a message to all addresses at once. Returns how each ended within `seconds`; raises nothing."""
    services = find_services(urls)
    senders = [
        partial(_send, message, service) if isinstance(service, _Service) else partial(_refused, _in_words(service))
        for service in services
    ]
    results = run_within(seconds, senders, (_LATE, seconds))
    names = [redacted_name(number, url) for number, url in enumerate(urls, 1)]
    return tuple(Delivery(name, *result) for name, result in zip(names, results, strict=True))


@dataclass(frozen=True, slots=True)
class NotifyProblem:
    """Why a message could not be sent, and what to do about it."""

    text: str
    remedy: str


def find_notify_problems(urls: Sequence[str]) -> tuple[NotifyProblem, ...]:
    """What would prevent sending, as far as is known without trying: a missing extra, addresses that cannot be used."""
    services = find_services(urls)
    if Unusable.NO_APPRISE in services:
        return (NotifyProblem(MISSING, "pip install apprise"),)
    return tuple(
        NotifyProblem(f"{redacted_name(number, url)}: {service}", "Correct BACKUP_NOTIFY_URLS.")
        for number, (url, service) in enumerate(zip(urls, services, strict=True), 1)
        if isinstance(service, str)
    )


@dataclass(frozen=True, slots=True)
class _Service:
    """An address that Apprise understands."""

    url: str
    plugin: apprise.NotifyBase


class Unusable(Enum):
    """Why no address at all can be used."""

    NO_APPRISE = MISSING


def find_services(urls: Sequence[str]) -> list[_Service | Unusable | str]:
    """The service of each address, or what is wrong with it. Loading all that Apprise knows takes half a second."""
    if not urls:
        return []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is outdated in it is not the operator's to put right
            import apprise

            _be_silent()
            return [_find_service(apprise.Apprise.instantiate, url) for url in urls]
    except ImportError:
        return [Unusable.NO_APPRISE] * len(urls)


def _find_service(instantiate: Callable[[str], apprise.NotifyBase | None], url: str) -> _Service | str:
    try:
        plugin = instantiate(url)
    except Exception as error:  # whatever a plugin of Apprise raises
        return f"it cannot be used ({type(error).__name__})"
    return _Service(url, plugin) if plugin is not None else "no address that Apprise understands"


def _in_words(problem: Unusable | str) -> str:
    return problem.value if isinstance(problem, Unusable) else problem


def _refused(problem: str) -> tuple[str, float]:
    return problem, 0.0


def _send(message: Message, service: _Service) -> tuple[str, float]:
    """What hindered it, empty if nothing did, and how long it took."""
    started = time.monotonic()
    said = _LastWords()
    logging.getLogger("apprise").addHandler(said)
    try:
        # the plugin itself: an `Apprise` object sends in threads that the process would wait for at its end
        is_taken = service.plugin.notify(
            title=message.subject, body=message.body, notify_type=message.kind.value, body_format="text"
        )
        problem = "" if is_taken else said.text or "the receiver did not accept it"
    except Exception as error:  # whatever a plugin of Apprise raises
        problem = f"{type(error).__name__}: {error}"
    finally:
        logging.getLogger("apprise").removeHandler(said)
    return redact(problem, service.url), time.monotonic() - started


class _LastWords(logging.Handler):
    """What Apprise says in this thread: its last warning, and the system's reason, which it logs at a lower level."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._thread = threading.get_ident()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the records that have the reason."""
        if record.thread != self._thread:
            return
        said = record.getMessage()
        if record.levelno >= logging.WARNING:
            self.text = said
        elif said.startswith(_REASON):
            refused = re.search(r"\[Errno -?\d+\] ([A-Za-z ]+)", said)
            reason = refused[1] if refused else said.removeprefix(_REASON)
            self.text = f"{self.text.rstrip('.')}: {reason[:_REASON_LIMIT]}" if self.text else reason[:_REASON_LIMIT]


def _be_silent() -> None:
    """Let no logging that an app has set up get what Apprise and what it uses say, since tokens are in it."""
    logging.getLogger("apprise").propagate = False
    logging.getLogger("apprise").setLevel(logging.DEBUG)  # for us
    for name in ("urllib3", "requests"):
        logging.getLogger(name).setLevel(logging.WARNING)


def redact(text: str, url: str) -> str:
    """`text` on one line, without any word of the address except its scheme and the names in its query."""
    place, _, query = url.partition("://")[2].partition("?")
    parts = re.split(r"[/:@,;#]+", place)
    for pair in query.split("&"):
        value = pair.partition("=")[2]
        parts += [value, *re.split(r"[/:@,;]+", unquote(value))]
    words = {form for part in parts for form in (part, unquote(part)) if form}
    for word in sorted(words, key=len, reverse=True):
        text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", _REDACTED, text)
    return one_line(text)
