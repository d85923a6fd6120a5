"""Signals to a check that expects one from each backup, by the convention of healthchecks.io.

`<url>/start`, then `<url>` after a success or `<url>/<exit status>` after a failure; `<url>/log` changes nothing there.
`rid` pairs a start with its end. The address is a secret: none of it is in what is told of a failure.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit, urlunsplit

from safeharbor_backup.actions.alerts.notify import Delivery
from safeharbor_backup.system.timeouts import run_within

if TYPE_CHECKING:
    from collections.abc import Callable

WAY = "ping"
START = "start"
SUCCESS = ""
LOG = "log"
_BODY_LIMIT_BYTES = 10_000  # what the smallest of such services keep
_TRY_SECONDS = 4.0
_PAUSE_SECONDS = 1.0
_SECONDS = 2 * _TRY_SECONDS + _PAUSE_SECONDS + 1.0  # for names that are looked up for long


def send_ping(url: str, signal: str, body: str = "", *, run_id: str = "") -> Delivery:
    """Send a signal, one of those above or an exit status; a second time if the first one fails. Raises nothing.

    Takes at most ten seconds. That of a start is tried once, since a backup waits for it.
    """
    target = address_of(url, signal, run_id)
    data = body.encode("utf-8", "replace")[:_BODY_LIMIT_BYTES]
    started = time.monotonic()
    attempt = partial(_request, target, data)
    action = attempt if signal == START else partial(_try_twice, attempt)
    (problem,) = run_within(_SECONDS, [action], "no answer in time")
    return Delivery(WAY, problem, time.monotonic() - started)


def address_of(url: str, signal: str, run_id: str) -> str:
    """The address of a signal: what belongs to the path goes before a query that the address may have."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/") + (f"/{signal}" if signal else "")
    query = "&".join(filter(None, (parts.query, urlencode({"rid": run_id}) if run_id else "")))
    return urlunsplit((parts.scheme, parts.netloc, path, query, ""))


def _try_twice(attempt: Callable[[], str]) -> str:
    if not attempt():
        return ""
    time.sleep(_PAUSE_SECONDS)
    return attempt()


def _request(target: str, data: bytes) -> str:
    """What went wrong, in words that have nothing of the address."""
    import http.client  # here, because each command would pay for them
    import urllib.error
    import urllib.request

    headers = {"User-Agent": "safeharbor", "Content-Type": "text/plain; charset=utf-8"}
    request = urllib.request.Request(target, data, headers, method="POST")  # noqa: S310 - http or https, as judged
    try:
        with urllib.request.urlopen(request, timeout=_TRY_SECONDS) as response:  # noqa: S310 - as above
            said = response.read(100).decode("ascii", "replace").strip()
    except urllib.error.HTTPError as error:
        error.close()
        return f"the server answered {error.code}"
    except urllib.error.URLError as error:
        return f"the server cannot be reached: {_reason(error.reason)}"
    except TimeoutError:
        return f"no answer within {_TRY_SECONDS:.0f} s"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"no answer: {_reason(error)}"
    # such services answer 200 to all, so that a job that checks the status does not fail because of them
    return f"the server answered: {said}" if said in ("OK (not found)", "OK (rate limited)") else ""  # decision 66


def _reason(error: BaseException | str) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {_TRY_SECONDS:.0f} s"
    said = getattr(error, "reason", None) or getattr(error, "strerror", None)  # of TLS, of the system
    if isinstance(error, OSError) and said:
        return str(said)
    return type(error).__name__  # its words may have the address
