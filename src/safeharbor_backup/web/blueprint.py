"""The page inside a Flask app, and one for each archive, for those whom the app's own check lets in."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from flask import Blueprint, Response, abort, current_app, request
from werkzeug.wrappers import Response as AnyResponse

from safeharbor_backup.system.documents import NotJson, load_json
from safeharbor_backup.system.small_file import read_small_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safeharbor_backup.web.archive_page import Asked

Access = Callable[[], object]

_LIMIT_BYTES = 16 << 20
_LIST_LIMIT_BYTES = 32 << 20
_LONGEST_PATH = 500
_LONGEST_TEXT = 200
_PAGE = re.compile(r"[1-9][0-9]{0,5}", re.ASCII)
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
        return _show(_page(_path_of(status_file), unknown_after, safe_path(request.args.get("back", "")) or back))

    @pages.get("/archives/<name>")
    def show_archive(name: str) -> AnyResponse:
        refusal = _refusal(access)
        if refusal is not None:
            return refusal
        return _show(_archive_page(_path_of(status_file), name), form_action="'self'")

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


def _show(page: str, form_action: str = "'none'") -> Response:
    from safeharbor_backup.web.page import content_security_policy  # an app starts more often than somebody looks

    response = Response(page, mimetype="text/html")
    response.headers.update(_HEADERS)
    # frame-ancestors cannot be in the page itself
    response.headers["Content-Security-Policy"] = f"{content_security_policy(form_action)}; frame-ancestors 'none'"
    return response


def _path_of(status_file: str | os.PathLike[str] | None) -> Path | None:
    return _configured() if status_file is None else Path(status_file)


def _page(path: Path | None, unknown_after: timedelta | None, back: str) -> str:
    from safeharbor_backup.web.page import render_absence, render_page

    now = datetime.now(UTC)
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
    addresses = _addresses(path)
    return render_page(document, now, unknown_after_seconds=seconds, back=back, addresses=addresses)


def _addresses(path: Path) -> dict[str, str]:
    """Those of the pages of archives that have a list, below archives/."""
    from safeharbor_backup.actions.status.list_schema import archive_of_list, lists_directory

    asked = {"back": back} if (back := safe_path(request.args.get("back", ""))) else {}
    try:
        names = filter(None, map(archive_of_list, os.listdir(lists_directory(path))))
    except OSError:
        return {}  # of an earlier version, or not published yet
    return {name: name + (f"?{urlencode(asked)}" if asked else "") for name in names}


def _archive_page(path: Path | None, name: str) -> str:
    """The page of one archive. Nothing of the request is part of a path but the name that an archive can have."""
    from safeharbor_backup.actions.status.list_schema import list_name, lists_directory
    from safeharbor_backup.web.archive_list import UnusableList
    from safeharbor_backup.web.archive_page import NoSuchPage, render_archive
    from safeharbor_backup.web.page import render_absence

    file_name = list_name(name)
    if path is None or not file_name:
        abort(404)
    asked, now = _asked(), datetime.now(UTC)
    try:
        packed = read_small_file(lists_directory(path) / file_name, _LIST_LIMIT_BYTES)
        return render_archive(packed, _read_or_nothing(path), asked, now)
    except (FileNotFoundError, NoSuchPage):
        abort(404)
    except (UnusableList, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        told = f"The list of {name} cannot be read: {why}."
        return render_absence("What is in this archive is not known.", told, now, back="../")


def _asked() -> Asked:
    """What of a list the address asks for; 404 if it asks for a page that no list has."""
    from safeharbor_backup.web.archive_page import Asked
    from safeharbor_backup.web.document import readable

    files, tables = (request.args.get(part, "1") for part in ("page", "tables"))
    if _PAGE.fullmatch(files) is None or _PAGE.fullmatch(tables) is None:
        abort(404)
    text = readable(request.args.get("q", "")[:_LONGEST_TEXT])
    return Asked(text, int(files), int(tables), safe_path(request.args.get("back", "")))


def _configured() -> Path | None:
    from safeharbor_backup.web.environment import configured_status_file

    return configured_status_file(current_app.config)


def _read_or_nothing(path: Path) -> Mapping[str, object]:
    try:
        return _read(path)
    except (UnusableDocument, OSError):
        return {}  # it only says how commands are typed


def _read(path: Path) -> Mapping[str, object]:
    """The document in a file. Raises UnusableDocument, OSError."""
    try:
        document = load_json(read_small_file(path, _LIMIT_BYTES, follow_symlinks=True))
    except NotJson as error:
        raise UnusableDocument("it is no JSON document") from error
    if not isinstance(document, dict):
        raise UnusableDocument("it holds something else than an object")
    return document
