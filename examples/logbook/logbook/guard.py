"""What every request passes: a token against forged forms, and headers that forbid the rest."""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING

from flask import abort, render_template, request, session
from werkzeug.exceptions import HTTPException

if TYPE_CHECKING:
    from flask import Flask, Response

TOKEN_FIELD = "form_token"
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "img-src 'self'",
        "style-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)


def protect(app: Flask) -> None:
    """The app refuses forged forms, sends strict headers and explains errors in its own words."""
    app.before_request(check_form_token)
    app.after_request(set_headers)
    app.register_error_handler(HTTPException, explain_error)
    app.jinja_env.globals["form_token"] = form_token


def form_token() -> str:
    """This session's token; every form carries it in a hidden field."""
    if TOKEN_FIELD not in session:
        session[TOKEN_FIELD] = secrets.token_urlsafe(32)
    return str(session[TOKEN_FIELD])


def check_form_token() -> None:
    """A request that changes something comes from a page of ours, or ends with 400."""
    if request.method in {"GET", "HEAD", "OPTIONS"}:
        return
    expected = str(session.get(TOKEN_FIELD, ""))
    given = request.form.get(TOKEN_FIELD, "")
    if not expected or not hmac.compare_digest(expected.encode(), given.encode()):
        abort(400, "This form is out of date. Open it again and send it once more.")


def set_headers(response: Response) -> Response:
    """The response, with the headers that keep a browser from doing what no page here needs."""
    # the page of the backups has a policy of its own, stricter than this one
    response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault("Referrer-Policy", "same-origin")
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return response


def explain_error(error: HTTPException) -> tuple[str, int] | HTTPException:
    """A page that names the error; redirects pass as they are."""
    if error.code is None or error.code < 400:
        return error
    return render_template("error.html", error=error), error.code
