"""The types of values that published documents are made of; whoever reads one checks them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta

FEW = 50  # of anything without a limit of its own

Moment = Annotated[datetime, Meta(tz=True)]
Name = Annotated[str, Meta(min_length=1)]
Amount = Annotated[float, Meta(ge=0)]
Texts = Annotated[tuple[Name, ...], Meta(max_length=FEW)]
