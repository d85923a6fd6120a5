"""Pictures as files: looked into before they are accepted, and published whole."""

from __future__ import annotations

import io
import os
import re
import secrets
import warnings
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

if TYPE_CHECKING:
    from datetime import datetime

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "WEBP": (".webp",),
}
MIME_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
PATH_FORM = re.compile(r"\d{4}/\d{2}/[0-9a-f]{32}(-thumbnail)?\.(jpg|jpeg|png|webp)", re.ASCII)
THUMBNAIL_SIZE = (640, 640)
PIXELS_MAX = 50_000_000


class NotAPictureError(ValueError):
    """The bytes are no picture that the logbook takes."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that has been decoded to its last pixel, and its thumbnail."""

    data: bytes
    suffix: str
    width: int
    height: int
    thumbnail: bytes


def read_picture(data: bytes, filename: str) -> Picture:
    """The picture in `data`, unchanged, with the suffix of `filename` where that tells the truth.

    Raises NotAPictureError for anything but a whole JPEG, PNG or WebP of a sane size.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow only warns of bombs and of damaged metadata
            image = Image.open(io.BytesIO(data), formats=tuple(SUFFIXES))
            if image.width * image.height > PIXELS_MAX:
                raise NotAPictureError(f"more than {PIXELS_MAX // 1_000_000} megapixels")
            suffixes = SUFFIXES[image.format or ""]
            image.load()
            upright = ImageOps.exif_transpose(image)
    except NotAPictureError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on hostile bytes
        raise NotAPictureError("not a whole JPEG, PNG or WebP picture") from error
    suffix = PurePosixPath(filename).suffix.lower()
    return Picture(
        data=data,
        suffix=suffix if suffix in suffixes else suffixes[0],
        width=upright.width,
        height=upright.height,
        thumbnail=make_thumbnail(upright),
    )


def make_thumbnail(image: Image.Image) -> bytes:
    """A small JPEG of `image`; what was transparent is white."""
    small = image.copy()
    small.thumbnail(THUMBNAIL_SIZE)
    if small.has_transparency_data:
        small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small.convert("RGBA"))
    file = io.BytesIO()
    small.convert("RGB").save(file, "JPEG", quality=82, optimize=True, progressive=True)
    return file.getvalue()


def random_name() -> str:
    """A name that nobody can guess and that no other picture has."""
    return secrets.token_hex(16)


def save_picture(root: Path, picture: Picture, when: datetime, name: str) -> str:
    """Where the picture now is, relative to `root`: `2026/05/<name>.jpg`, its thumbnail beside it."""
    path = f"{when:%Y/%m}/{name}{picture.suffix}"
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    publish(root / thumbnail_of(path), picture.thumbnail)
    publish(root / path, picture.data)
    return path


def thumbnail_of(path: str) -> str:
    """The path of the thumbnail that belongs to the picture at `path`."""
    return str(PurePosixPath(path).with_suffix("")) + "-thumbnail.jpg"


def is_picture_path(path: str) -> bool:
    """Whether `path` has the form that this module gives to pictures and thumbnails."""
    return PATH_FORM.fullmatch(path) is not None


def remove_picture(root: Path, path: str) -> None:
    """The picture and its thumbnail are gone, if they were there at all."""
    (root / path).unlink(missing_ok=True)
    (root / thumbnail_of(path)).unlink(missing_ok=True)


def publish(path: Path, data: bytes) -> None:
    """The file is at `path`, whole; a crash on the way leaves at most a `.part` beside it."""
    partial = path.with_name(f".{path.name}.part")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
