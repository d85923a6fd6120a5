"""`flask --app logbook seed`: a logbook that looks used."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy import func, select

from logbook.models import Entry, Photo, db
from logbook.painting import paint_harbour
from logbook.storage import read_picture, save_picture

FIRST_ARRIVAL = datetime(2025, 3, 1, 6, 0, tzinfo=UTC)
ENTRIES_PER_COMMIT = 50

VESSELS = (
    "Marie-Louise", "Nordstjernen", "Ægir", "Sturmvogel", "La Niña", "O'Malley's Luck", "Żagiel",
    "Ελπίδα", "海鷗", "Fáfnir", "Grace Darling", "Petrel", "Vrijheid", "Boží dar", "Halcyon",
    "Cormorán", "Étoile du Nord", "Silver Darling", "Havfrue", "Dagmar Aaen", "Kittiwake", "Чайка",
    "Santa Rita", "Wanderer III", "نورس", "Second Wind", "Meerjungfrau", "Sóley", "Blue Peter",
    "Tern & Tide",
)  # fmt: skip
PREFIXES = ("", "", "", "", "MV ", "SY ", "FV ")
REASONS = (
    "Landing {cargo}.", "Waiting for the tide with {cargo} on board.", "In for the night.",
    "Took shelter from the south-westerly.", "Here for the regatta.",
    "Crew change; two hands ashore.", "Shaft bearing runs hot, the yard is told.",
    "Filled 400 litres of diesel and all water tanks.", "Customs cleared in ten minutes.",
    "Loading {cargo} until noon.", "Mooring line chafed, replaced.",
)  # fmt: skip
CARGOES = (
    "mackerel, 38 boxes", "mussels", "timber", "brown crab", "mail and one piano", "herring",
    "salt", "oak",
)  # fmt: skip
WEATHERS = (
    "Wind SW 5, sea moderate.", "Flat calm, fog over the bar.", "Wind NW 3, fine.",
    "Rain until ten, then clear.", "Swell in the entrance.", "Wind E 4, cold and bright.",
    "Thunder to the south.",
)  # fmt: skip
PARTINGS = (
    "Leaves with the morning tide.", "Berth paid for a week.", "Shore power connected.",
    "Master asks for the weather.", "Dog on board, very polite.", "", "", "",
)  # fmt: skip
CAPTIONS = (
    "Coming in", "From the breakwater", "At the fuel berth", "Under the light",
    "Evening, looking west", "Große Fahrt: Ankunft", "Øst for moloen", "入港 ⚓", "Вечер в гавани",
    "ميناء عند الغروب", "café “Le Quai”, vu du port", "50 % sail, 100 % wind",
    "it's <b>not</b> bold", "back\\slash & co", "🚢🌊", "e\u0301te\u0301 / été",
)  # fmt: skip


@click.command("seed")
@click.option("--entries", type=click.IntRange(min=0), default=48, show_default=True, help="How many entries.")
@click.option("--photos-per-entry", type=click.IntRange(0, 99), default=3, show_default=True, help="Photos of each.")
@click.option("--seed", "number", type=int, default=1, show_default=True, help="Same number, same logbook.")
@with_appcontext
def seed_command(entries: int, photos_per_entry: int, number: int) -> None:
    """Add invented entries with painted photos, after those that are there."""
    root = Path(current_app.config["UPLOAD_DIR"])
    first = db.session.scalar(select(func.max(Entry.id))) or 0  # a count would repeat names after a deletion
    for index in range(first, first + entries):
        db.session.add(invent_entry(Random(f"{number}/{index}"), index, photos_per_entry, root))
        if (index - first + 1) % ENTRIES_PER_COMMIT == 0:
            db.session.commit()
            click.echo(f"{index - first + 1} of {entries} entries")
    db.session.commit()
    click.echo(f"added {entries} entries with {entries * photos_per_entry} photos below {root}")


def invent_entry(random: Random, index: int, photos: int, root: Path) -> Entry:
    """One entry, not yet in the database; its photos are files already."""
    arrived_at = FIRST_ARRIVAL + timedelta(hours=5 * index, minutes=random.randrange(240))
    remark = " ".join(
        (
            random.choice(REASONS).format(cargo=random.choice(CARGOES)),
            random.choice(WEATHERS),
            random.choice(PARTINGS),
        )
    )
    entry = Entry(
        vessel=random.choice(PREFIXES) + random.choice(VESSELS),
        berth=f"{random.choice('ABCDEF')}{random.randint(1, 18)}",
        remark=remark.strip(),
        arrived_at=arrived_at,
    )
    for position in range(photos):
        picture = read_picture(paint_harbour(random), "painted.jpg")
        name = f"{random.getrandbits(128):032x}"
        entry.photos.append(
            Photo(
                position=position,
                path=save_picture(root, picture, arrived_at, name),
                caption=random.choice(CAPTIONS),
                width=picture.width,
                height=picture.height,
                size_bytes=len(picture.data),
            )
        )
    return entry
