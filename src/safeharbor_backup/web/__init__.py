"""The page that shows the state of the backups: as a file, and inside a Flask app."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from datetime import timedelta

    from flask import Blueprint

    from safeharbor_backup.web.blueprint import Access

__all__ = ["backups_page"]


def backups_page(
    *,
    access: Access,
    status_file: str | os.PathLike[str] | None = None,
    unknown_after: timedelta | None = None,
    back: str = "",
) -> Blueprint:
    """A blueprint with one page, read-only, for whom `access` lets in.

    `access` is called for each request, without arguments: True shows the page, a response (such as a redirect to a
    login) is sent instead, anything else is 403. `status_file` is what `BACKUP_STATUS_FILE` names; without it, that
    setting is asked, of the environment and of the app's configuration. When the file has not been renewed for
    `unknown_after`, the page says that the state is not known; without it that is as long as an archive may be old.

    `back` is the path that a link leads back to, as `/admin`; `?back=/path` in the page's own address
    goes before it, if it is a path of the same site.

    Raises TypeError if `access` cannot be called, or not without arguments; ValueError if `unknown_after` is not
    longer than nothing, or `back` is no such path.
    """
    from safeharbor_backup.web.blueprint import make_blueprint  # Flask is needed from here on, and not for a report

    return make_blueprint(access, status_file, unknown_after, back)
