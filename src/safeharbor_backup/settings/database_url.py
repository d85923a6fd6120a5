"""The address of a database, and libpq's keywords for what it says."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Keys whose value is a secret that libpq can take in no other way than the connection string, which would
# put it into a child's argv for everybody to read.
SECRET_KEYS = frozenset({"sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"})

# libpq's connection keywords (PostgreSQL 18, "Parameter Key Words"), without the secret ones and without
# those that make no sense for a backup (replication) or that we set ourselves.
LIBPQ_KEYS = frozenset(
    [
        "host",
        "hostaddr",
        "port",
        "dbname",
        "user",
        "passfile",
        "require_auth",
        "channel_binding",
        "connect_timeout",
        "client_encoding",
        "options",
        "application_name",
        "fallback_application_name",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
        "gssencmode",
        "sslmode",
        "sslnegotiation",
        "sslcompression",
        "sslcert",
        "sslkey",
        "sslcertmode",
        "sslrootcert",
        "sslcrl",
        "sslcrldir",
        "sslsni",
        "requirepeer",
        "min_protocol_version",
        "max_protocol_version",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
        "krbsrvname",
        "gsslib",
        "gssdelegation",
        "service",
        "servicefile",
        "target_session_attrs",
        "load_balance_hosts",
    ]
)


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """Where a database is and who we are there; the password is kept apart and never shown."""

    parameters: tuple[tuple[str, str], ...]
    password: str | None = field(default=None, repr=False)
    driver: str = field(default="", compare=False)  # as in postgresql+psycopg: what the app connects with

    def get(self, key: str, default: str = "") -> str:
        """The value of a libpq keyword, or `default`."""
        return dict(self.parameters).get(key, default)

    def with_defaults(self, defaults: Mapping[str, str]) -> DatabaseUrl:
        """The same address with `defaults` for the keywords that it leaves open."""
        return replace(self, parameters=tuple({**defaults, **dict(self.parameters)}.items()))

    def with_database(self, name: str) -> DatabaseUrl:
        """The same server and role, another database."""
        return replace(self, parameters=tuple({**dict(self.parameters), "dbname": name}.items()))

    def with_options(self, options: str) -> DatabaseUrl:
        """The same address, its sessions with these options of the server as well (libpq's `options`)."""
        both = f"{self.get('options')} {options}".strip()
        return replace(self, parameters=tuple({**dict(self.parameters), "options": both}.items()))

    def conninfo(self) -> str:
        """A libpq connection string without the password: safe for an argv and for a log."""
        return " ".join(f"{key}={_quoted(value)}" for key, value in self.parameters)

    def with_password(self) -> str:
        """The same with the password: for a file that only its owner can read, and for nothing else."""
        return self.conninfo() + (f" password={_quoted(self.password)}" if self.password is not None else "")

    def describe(self) -> str:
        """The database and its server as an operator would name them, such as `"reef" on db:5432`."""
        if self.get("service") and not self.get("dbname"):
            return f"service {self.get('service')}"
        name = self.get("dbname") or self.get("user") or "(default)"
        hosts = (self.get("host") or self.get("hostaddr")).split(",")
        ports = self.get("port").split(",")
        places = []
        for index, host in enumerate(hosts):
            port = ports[min(index, len(ports) - 1)] or "5432"
            if not host or host.startswith(("/", "@")):
                places.append(f"the local socket{f' in {host}' if host else ''} (port {port})")
            else:
                places.append(f"{host}:{port}")
        return f'"{name}" on {", ".join(places)}'


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
