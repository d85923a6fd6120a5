"""Who may see the state of the backups: whoever knows ADMIN_PASSWORD."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from flask import Blueprint, abort, current_app, redirect, render_template, request, session, url_for

if TYPE_CHECKING:
    from werkzeug.wrappers import Response as BaseResponse

_SEAL = "admin"

admin = Blueprint("admin", __name__, url_prefix="/admin")


def admin_or_login() -> bool | BaseResponse:
    """True for the admin; the way to the login for others; False if this logbook has no admin."""
    password = current_app.config["ADMIN_PASSWORD"]
    if not password:
        return False
    if hmac.compare_digest(str(session.get(_SEAL, "")), seal(password)):
        return True
    return redirect(url_for("admin.show_login"), 303)


@admin.before_request
def check_there_is_one() -> None:
    """Without a password there is no admin, and nothing here."""
    if not current_app.config["ADMIN_PASSWORD"]:
        abort(404)


@admin.get("/login")
def show_login() -> str:
    """The form that asks for the password."""
    return render_template("login.html", is_refused=False)


@admin.post("/login")
def log_in() -> BaseResponse | tuple[str, int]:
    """The admin is let in until the browser is closed; others see the form again."""
    password = current_app.config["ADMIN_PASSWORD"]
    given = request.form.get("password", "")
    if not hmac.compare_digest(given.encode(), password.encode()):
        return render_template("login.html", is_refused=True), 403
    session.clear()
    session[_SEAL] = seal(password)
    return redirect(url_for("backups.show_backups"), 303)


@admin.post("/logout")
def log_out() -> BaseResponse:
    """Nobody in particular again."""
    session.clear()
    return redirect(url_for("pages.list_entries"), 303)


def seal(password: str) -> str:
    """What an admin's session holds; another password makes it worthless, as another SECRET_KEY does."""
    key = str(current_app.config["SECRET_KEY"]).encode()
    return hmac.new(key, password.encode(), hashlib.sha256).hexdigest()
