"""The page inside a Flask app: one route, for those whom the app's own check lets in."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Blueprint, Response, abort, current_app, request
from werkzeug.wrappers import Response as AnyResponse

from safeharbor_backup.system.documents import NotJson, load_json
from safeharbor_backup.system.small_file import read_small_file

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

Access = Callable[[], object]

_LIMIT_BYTES = 16 << 20
_LONGEST_PATH = 500
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class UnusableDocument(Exception):
    """The file is there, but no document can be read from it; the message says why."""


def make_blueprint(
    access: Access, status_file: str | os.PathLike[str] | None, unknown_after: timedelta | None, back: str
) -> Blueprint:
    """What `safeharbor_backup.web.backups_page` gives."""
    _check_access(access)
    if unknown_after is not None and unknown_after <= timedelta(0):
        raise ValueError("unknown_after must be longer than nothing, such as timedelta(minutes=10)")
    if back and not safe_path(back):
        raise ValueError(f"back must be a path of this site, such as /admin, not {back!r}")
    pages = Blueprint("backups", __name__)

    @pages.get("/")
    def show_backups() -> AnyResponse:
        refusal = _refusal(access)
        if refusal is not None:
            return refusal
        return _show(status_file, unknown_after, safe_path(request.args.get("back", "")) or back)

    @pages.after_request
    def store_nowhere(response: AnyResponse) -> AnyResponse:
        response.headers["Cache-Control"] = "no-store"  # neither the page nor that somebody may not see it
        return response

    return pages


def safe_path(text: str) -> str:
    """The text if it is a path of the same site that a link may lead to; else "".

    Browsers take `//host`, and `/\\host`, for another site, and pass over tabs and line breaks.
    """
    is_path = text.startswith("/") and not text.startswith(("//", "/\\")) and len(text) <= _LONGEST_PATH
    return text if is_path and text.isascii() and text.isprintable() and " " not in text else ""


def _check_access(access: object) -> None:
    hint = "backups_page(access=...) needs a function without arguments that returns True for whom the page is for"
    if not callable(access):
        raise TypeError(f"{hint}; it got {access!r}")
    if inspect.iscoroutinefunction(access):
        raise TypeError(f"{hint}; {access!r} is asynchronous, and what it returns would never be looked at")
    try:
        inspect.signature(access).bind()
    except TypeError as error:
        raise TypeError(f"{hint}; {access!r} has arguments that it needs") from error
    except ValueError:
        pass  # a builtin that does not tell


def _refusal(access: Access) -> AnyResponse | None:
    """What to send instead of the page; None for whom it is for. Anything that is not plainly a yes is a no."""
    answer = access()
    if answer is True:  # decision 70
        return None
    if isinstance(answer, AnyResponse):
        return answer
    if answer:  # a text, a user, a coroutine: somebody may have meant yes, and learns why it is none
        current_app.logger.warning(
            "access to the page of backups returned %s, not True: refused", type(answer).__name__
        )
    return abort(403)


def _show(status_file: str | os.PathLike[str] | None, unknown_after: timedelta | None, back: str) -> Response:
    from safeharbor_backup.web.page import content_security_policy  # an app starts more often than somebody looks

    response = Response(_page(status_file, unknown_after, back), mimetype="text/html")
    response.headers.update(_HEADERS)
    # frame-ancestors cannot stand in the page itself
    response.headers["Content-Security-Policy"] = f"{content_security_policy()}; frame-ancestors 'none'"
    return response


def _page(status_file: str | os.PathLike[str] | None, unknown_after: timedelta | None, back: str) -> str:
    from safeharbor_backup.web.page import render_absence, render_page

    now = datetime.now(UTC)
    path = _configured() if status_file is None else Path(status_file)
    not_known = "The state of the backups is not known."
    if path is None:
        return render_absence(
            not_known, "BACKUP_STATUS_FILE is not set here; it names the file with the state.", now, back=back
        )
    try:
        document = _read(path)
    except FileNotFoundError:
        told = f"There is no {path} yet. It will be there as soon as a backup, or a check, has run."
        return render_absence("Nothing has run yet.", told, now, is_expected=True, back=back)
    except (UnusableDocument, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        return render_absence(not_known, f"{path} cannot be read: {why}.", now, back=back)
    seconds = None if unknown_after is None else unknown_after.total_seconds()
    return render_page(document, now, unknown_after_seconds=seconds, back=back)


def _configured() -> Path | None:
    from safeharbor_backup.web.environment import configured_status_file

    return configured_status_file(current_app.config)


def _read(path: Path) -> Mapping[str, object]:
    """The document in a file. Raises UnusableDocument, OSError."""
    try:
        document = load_json(read_small_file(path, _LIMIT_BYTES, follow_symlinks=True))
    except NotJson as error:
        raise UnusableDocument("it is no JSON document") from error
    if not isinstance(document, dict):
        raise UnusableDocument("it holds something else than an object")
    return document
