"""`scheduler --listen`: the metrics, and whether the backups are healthy, over HTTP while the scheduler runs."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import click

from safeharbor_backup.actions.status.metrics import gather_metrics, render_metrics
from safeharbor_backup.actions.status.run import read_status
from safeharbor_backup.errors import SafeHarborError, SettingsInvalid, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeharbor_backup.settings.model import Settings

LOOPBACK = "127.0.0.1"
_TEXT = "text/plain; charset=utf-8"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"
_NAME = "safeharbor"
_SECONDS_FOR_A_REQUEST = 10
_MOST_AT_ONCE = 16

Address = tuple[str, int]


class AddressType(click.ParamType):  # type: ignore[type-arg]  # only newer clicks have one
    """`HOST:PORT`, `[HOST]:PORT` or a port, which is one of this host alone."""

    name = "address"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """Host and port. Fails with status 2."""
        host, colon, port = str(value).rpartition(":")
        is_bare_ipv6 = ":" in host and not (host.startswith("[") and host.endswith("]"))
        is_port = re.fullmatch(r"[0-9]{1,5}", port) is not None and int(port) < 2**16
        if not is_port or is_bare_ipv6 or (colon and not host):
            self.fail(f"{value!r} is not an address such as {LOOPBACK}:9187 or [::1]:9187.", param, ctx)
        return (host.strip("[]") or LOOPBACK, int(port))


@contextmanager
def metrics_served(settings: Settings, address: Address) -> Iterator[Address]:
    """Inside the block `/metrics` and `/healthz` answer at this address; yields it, with the port if that was 0.

    Raises SettingsInvalid if nothing can listen there, SafeHarborError without the extra `metrics`.
    """
    render_metrics((), _NAME)  # imports the library before there are threads, or says that it is missing
    host, port = address
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        server = _Server(settings, family, (str(where[0]), port))
    except (OSError, UnicodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise SettingsInvalid([f"--listen {host}:{port}: {why}"], hint="Name a free port of this host.") from None
    with server:
        thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
        thread.start()
        try:
            yield (host, server.server_port)
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):  # decision 99
    """One look at the archives at a time, however many ask."""

    daemon_threads = True
    block_on_close = False  # whoever is slow to read must not hold up the end

    def __init__(self, settings: Settings, family: socket.AddressFamily, address: Address) -> None:
        self.address_family = family
        self.settings = settings
        self.looking = threading.Lock()
        self._places = threading.BoundedSemaphore(_MOST_AT_ONCE)
        super().__init__(address, _Handler)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """Answer in a thread; one more than there may be is hung up on, or backups would find no descriptor left."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no more threads
            self._places.release()
            raise

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        """Answer, and make place for the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a client that goes away is not our error."""


class _Handler(BaseHTTPRequestHandler):
    """Two pages to read, and nothing to change."""

    server: _Server
    server_version = "safeharbor"
    sys_version = ""
    timeout = _SECONDS_FOR_A_REQUEST

    def do_GET(self) -> None:
        """Answer with a page, or with what hinders that."""
        pages = {"/metrics": self._metrics, "/healthz": self._healthz}
        page = pages.get(self.path.partition("?")[0])
        if page is None:
            self._answer(HTTPStatus.NOT_FOUND, b"Here are /metrics and /healthz.\n")
            return
        try:
            with self.server.looking:
                status, content, kind = page()
        except (SafeHarborError, OSError) as error:
            why = one_line(error.message if isinstance(error, SafeHarborError) else str(error))
            status, content, kind = HTTPStatus.SERVICE_UNAVAILABLE, f"{why}\n".encode(errors="replace"), _TEXT
        self._answer(status, content, kind)

    do_HEAD = do_GET  # noqa: N815 - the library's name

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Nothing: a line for every scrape is nothing that anybody can act on."""

    def _metrics(self) -> tuple[HTTPStatus, bytes, str]:
        settings = self.server.settings
        name = settings.metrics_file.stem if settings.metrics_file is not None else _NAME
        return HTTPStatus.OK, render_metrics(gather_metrics(settings, datetime.now(UTC)), name), _METRICS

    def _healthz(self) -> tuple[HTTPStatus, bytes, str]:
        status = read_status(self.server.settings, now=datetime.now(UTC))
        code = HTTPStatus.OK if status.is_healthy else HTTPStatus.SERVICE_UNAVAILABLE
        return code, f"{status.health.value}\n".encode(), _TEXT

    def _answer(self, status: HTTPStatus, content: bytes, kind: str = _TEXT) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
