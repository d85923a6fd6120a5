"""The two tables: entries, and the photos that belong to them."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLAlchemy evaluates the annotations at run time
from typing import TYPE_CHECKING

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import DateTime, ForeignKey, Index, MetaData, String, Text, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

ENTRY_ID_MAX = 2**31 - 1
VESSEL_LENGTH = 80
BERTH_LENGTH = 12
REMARK_LENGTH = 2000
CAPTION_LENGTH = 200


class Base(DeclarativeBase):
    """Names every constraint, so that a migration can drop what an earlier one made."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


db = SQLAlchemy(model_class=Base)

if TYPE_CHECKING:
    Model = Base  # Flask-SQLAlchemy makes its base class at run time, where mypy cannot follow
else:
    Model = db.Model


class Entry(Model):
    """One arrival."""

    __tablename__ = "entry"

    id: Mapped[int] = mapped_column(primary_key=True)
    vessel: Mapped[str] = mapped_column(String(VESSEL_LENGTH))
    berth: Mapped[str] = mapped_column(String(BERTH_LENGTH))
    remark: Mapped[str] = mapped_column(Text, server_default="")
    arrived_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    written_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    photos: Mapped[list[Photo]] = relationship(
        back_populates="entry",
        order_by="Photo.position",
        cascade="all, delete-orphan",
        passive_deletes=True,
    )


class Photo(Model):
    """One photo of an arrival; the picture itself is a file below UPLOAD_DIR."""

    __tablename__ = "photo"

    id: Mapped[int] = mapped_column(primary_key=True)
    entry_id: Mapped[int] = mapped_column(ForeignKey("entry.id", ondelete="CASCADE"), index=True)
    position: Mapped[int]
    path: Mapped[str] = mapped_column(String(200), unique=True)
    caption: Mapped[str] = mapped_column(String(CAPTION_LENGTH), server_default="")
    width: Mapped[int]
    height: Mapped[int]
    size_bytes: Mapped[int]

    entry: Mapped[Entry] = relationship(back_populates="photos")


Index("ix_entry_newest", Entry.arrived_at.desc(), Entry.id.desc())
