"""What `make apps` must know of an application."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class App:
    """In texts @PLACE@ is an empty directory, @URL@ the address of the database, @ROLE@ its name and its owner's.

    @PORT@ is the server's, @SUPERUSER@ the address of its superuser, @REDIS@ the port of Redis.
    """

    name: str  # of the distribution
    module: str  # what is imported to see that it still works
    framework: str
    requires: Sequence[str]
    command: Sequence[str]  # how ours is typed there
    data: str  # Python that makes rows by its own models
    schema: Sequence[Sequence[str]] = ()  # its own commands, where no loading does it
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)  # its configuration
    trees: Sequence[str] = ()  # directories that it keeps files in
    works: str = ""  # Python that reads those rows again
    elsewhere: bool = False  # ours gets an environment of its own, as docs/apps.md says for this kind
    extension: str = ""  # of PostgreSQL, which only a superuser may create
    needs_redis: bool = False
