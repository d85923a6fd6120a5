"""The pages."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from flask import (
    Blueprint,
    Response,
    abort,
    current_app,
    flash,
    redirect,
    render_template,
    request,
    send_from_directory,
    url_for,
)
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import selectinload

from logbook.entry_form import PHOTOS_MAX, EntryForm, empty_form, read_form
from logbook.models import BERTH_LENGTH, ENTRY_ID_MAX, REMARK_LENGTH, VESSEL_LENGTH, Entry, Photo, db
from logbook.storage import (
    MIME_TYPES,
    is_picture_path,
    random_name,
    remove_picture,
    save_picture,
    thumbnail_of,
)

if TYPE_CHECKING:
    from werkzeug.wrappers import Response as BaseResponse

ENTRIES_PER_PAGE = 12
PAGE_DIGITS_MAX = 9  # PostgreSQL refuses an offset beyond 64 bits
PICTURE_AGE_SECONDS = 365 * 24 * 3600  # a name is never used for another picture

pages = Blueprint("pages", __name__)
pages.add_app_template_filter(thumbnail_of)


@pages.app_template_filter()
def utc(moment: datetime, form: str) -> str:
    """The moment in UTC, whatever time zone the database session speaks."""
    return moment.astimezone(UTC).strftime(form)


@pages.get("/")
def list_entries() -> str:
    """The newest entries first, a page at a time."""
    if len(request.args.get("page", "")) > PAGE_DIGITS_MAX:
        abort(404)
    newest = select(Entry).options(selectinload(Entry.photos))
    newest = newest.order_by(Entry.arrived_at.desc(), Entry.id.desc())
    page = db.paginate(newest, per_page=ENTRIES_PER_PAGE, max_per_page=ENTRIES_PER_PAGE)
    photos = db.session.scalar(select(func.count()).select_from(Photo))
    return render_template("entries.html", page=page, photos=photos)


@pages.get(f"/entries/<int(max={ENTRY_ID_MAX}):entry_id>")
def show_entry(entry_id: int) -> str:
    """One entry with all its photos."""
    return render_template("entry.html", entry=db.get_or_404(Entry, entry_id))


@pages.get("/entries/new")
def new_entry() -> str:
    """The empty form."""
    return render_form(empty_form(datetime.now(UTC)))


@pages.post("/entries/new")
def add_entry() -> BaseResponse | tuple[str, int]:
    """The entry is written and shown; or the form comes back and says why not."""
    form = read_form(request.form, request.files.getlist("photos"))
    if form.errors:
        return render_form(form), 422
    entry = write_entry(form)
    flash(f"{entry.vessel} is in the log.")
    return redirect(url_for("pages.show_entry", entry_id=entry.id), 303)


@pages.post(f"/entries/<int(max={ENTRY_ID_MAX}):entry_id>/delete")
def delete_entry(entry_id: int) -> BaseResponse:
    """The entry is struck out, then its files: a row never points at a file that is gone."""
    entry = db.get_or_404(Entry, entry_id)
    vessel, paths = entry.vessel, [photo.path for photo in entry.photos]
    db.session.delete(entry)
    db.session.commit()
    for path in paths:
        remove_picture(upload_dir(), path)
    flash(f"The entry of {vessel} was deleted.")
    return redirect(url_for("pages.list_entries"), 303)


@pages.get("/uploads/<path:path>")
def show_upload(path: str) -> Response:
    """A picture or its thumbnail, and nothing else that may lie in the folder."""
    if not is_picture_path(path):
        abort(404)
    kind = MIME_TYPES[PurePosixPath(path).suffix]
    return send_from_directory(upload_dir(), path, mimetype=kind, max_age=PICTURE_AGE_SECONDS)


@pages.get("/health")
def health() -> tuple[dict[str, str], int]:
    """200 if the database answers, else 503."""
    try:
        db.session.execute(text("SELECT 1"))
    except SQLAlchemyError:
        current_app.logger.exception("the database does not answer")
        return {"status": "failed", "database": "does not answer"}, 503
    return {"status": "ok", "database": "answers"}, 200


def render_form(form: EntryForm) -> str:
    """The page with the form as it is."""
    return render_template(
        "new.html",
        form=form,
        vessel_length=VESSEL_LENGTH,
        berth_length=BERTH_LENGTH,
        remark_length=REMARK_LENGTH,
        photos_max=PHOTOS_MAX,
    )


def write_entry(form: EntryForm) -> Entry:
    """The entry, committed. Its files are there first; if the database refuses the rows, they are removed again.

    If the commit itself fails, the files stay: the connection may have broken after the rows were kept.
    """
    entry = Entry(vessel=form.vessel, berth=form.berth, remark=form.remark, arrived_at=form.arrived_at)
    now = datetime.now(UTC)
    saved: list[str] = []
    try:
        for position, (caption, picture) in enumerate(form.photos):
            path = save_picture(upload_dir(), picture, now, random_name())
            saved.append(path)
            entry.photos.append(
                Photo(
                    position=position,
                    path=path,
                    caption=caption,
                    width=picture.width,
                    height=picture.height,
                    size_bytes=len(picture.data),
                )
            )
        db.session.add(entry)
        db.session.flush()
    except BaseException:
        for path in saved:
            remove_picture(upload_dir(), path)
        raise
    db.session.commit()
    return entry


def upload_dir() -> Path:
    """The folder below which all pictures are."""
    return Path(current_app.config["UPLOAD_DIR"])
