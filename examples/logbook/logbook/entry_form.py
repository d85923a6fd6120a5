"""The form of a new entry: what was typed, what is wrong with it, and what it means."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING

from logbook.models import BERTH_LENGTH, CAPTION_LENGTH, REMARK_LENGTH, VESSEL_LENGTH
from logbook.storage import NotAPictureError, Picture, read_picture

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from werkzeug.datastructures import FileStorage

PHOTOS_MAX = 12
TIME_INPUT = "%Y-%m-%dT%H:%M"
YEARS = range(1900, 2200)  # years 1 and 9999 leave Python's calendar where the server's time zone is not UTC
NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class EntryForm:
    """One sent form. It is good if `errors` is empty; keys there are names of fields."""

    vessel: str = ""
    berth: str = ""
    remark: str = ""
    arrived: str = ""
    arrived_at: datetime = NEVER
    photos: list[tuple[str, Picture]] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)


def empty_form(now: datetime) -> EntryForm:
    """The form as it is first shown: the vessel has just come in."""
    return EntryForm(arrived=now.strftime(TIME_INPUT))


def read_form(values: Mapping[str, str], files: Iterable[FileStorage]) -> EntryForm:
    """The sent form, with all that is wrong with it and not just the first."""
    form = EntryForm(
        vessel=printable(values.get("vessel", "")),
        berth=printable(values.get("berth", "")).upper(),
        remark=printable(values.get("remark", ""), keep="\n"),
        arrived=printable(values.get("arrived", "")),
    )
    check_text(form, "vessel", form.vessel, 1, VESSEL_LENGTH)
    check_text(form, "berth", form.berth, 1, BERTH_LENGTH)
    check_text(form, "remark", form.remark, 0, REMARK_LENGTH)
    try:
        form.arrived_at = read_time(form.arrived)
    except ValueError:
        form.errors["arrived"] = f"Give the day and the time of arrival, in UTC, from {YEARS[0]} to {YEARS[-1]}."
    read_photos(form, [file for file in files if file.filename])
    return form


def read_time(text: str) -> datetime:
    """The moment that a browser's field for day and time means, read as UTC.

    Raises ValueError for what such a field never sends, and for years that no vessel came in.
    """
    moment = datetime.fromisoformat(text)
    if "T" not in text or moment.tzinfo is not None or moment.year not in YEARS:
        raise ValueError(text)
    return moment.replace(tzinfo=UTC)


def read_photos(form: EntryForm, files: list[FileStorage]) -> None:
    """The form, with its pictures; or with the reason why one of them is none."""
    if len(files) > PHOTOS_MAX:
        form.errors["photos"] = f"Send at most {PHOTOS_MAX} photos with one entry."
        return
    for file in files:
        name = printable(file.filename or "")
        try:
            picture = read_picture(file.read(), name)
        except NotAPictureError as error:
            form.errors["photos"] = f"“{name}” was not accepted: {error}. Please choose the photos again."
            return
        form.photos.append((PurePath(name).stem[:CAPTION_LENGTH], picture))
    if form.errors and form.photos:
        form.errors["photos"] = "Please choose the photos again; a browser does not keep them."


def check_text(form: EntryForm, name: str, text: str, least: int, most: int) -> None:
    """The form, with an error if the text of this field is missing or too long."""
    if len(text) < least:
        form.errors[name] = f"The {name} is missing."
    elif len(text) > most:
        form.errors[name] = f"At most {most} characters, please; this has {len(text)}."


def printable(text: str, keep: str = "") -> str:
    """The text without control characters: PostgreSQL refuses NUL, and none belongs into a logbook."""
    text = text.replace("\r\n", "\n")
    return "".join(c for c in text if c in keep or unicodedata.category(c) not in {"Cc", "Cs"}).strip()
