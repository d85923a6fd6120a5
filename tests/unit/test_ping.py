from __future__ import annotations

import socket
import threading
import time

import pytest

from safeharbor_backup.actions.alerts import ping
from safeharbor_backup.actions.alerts.ping import LOG, START, SUCCESS, address_of, send_ping
from support.patience import patient
from support.receivers import free_port, http_server

SECRET = "5bf66975-d4c7-4bf5-bcc8-b8d8a82ea278"


@pytest.mark.parametrize(
    ("url", "signal", "run_id", "expected"),
    [
        ("https://hc.example/u", SUCCESS, "", "https://hc.example/u"),
        ("https://hc.example/u/", START, "r", "https://hc.example/u/start?rid=r"),
        ("https://hc.example/u?create=1", "7", "r", "https://hc.example/u/7?create=1&rid=r"),
        ("http://[::1]:8000/ping/u", LOG, "", "http://[::1]:8000/ping/u/log"),
    ],
)
def test_the_signal_goes_to_the_path(url: str, signal: str, run_id: str, expected: str) -> None:
    assert address_of(url, signal, run_id) == expected


def test_a_ping_carries_its_text_up_to_what_such_services_keep() -> None:
    with http_server() as listener:
        delivery = send_ping(f"http://127.0.0.1:{listener.port}/{SECRET}", "6", "é" * 9000, run_id="r")

    ((path, body),) = listener.asked
    assert delivery.problem == ""
    assert path == f"/{SECRET}/6?rid=r"
    assert body == "é" * 5000


def test_it_is_tried_a_second_time_and_a_start_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping, "_PAUSE_SECONDS", 0.01)
    with http_server() as listener:
        url = f"http://127.0.0.1:{listener.port}/{SECRET}"
        listener.statuses = [500]
        assert send_ping(url, SUCCESS).problem == ""
        listener.statuses = [500, 502]
        assert send_ping(url, SUCCESS).problem == "the server answered 502"
        listener.statuses = [500]
        assert send_ping(url, START).problem == "the server answered 500"

    assert listener.paths == [f"/{SECRET}"] * 4 + [f"/{SECRET}/start"]


@pytest.mark.parametrize("answer", [b"OK (not found)", b"OK (rate limited)"])
def test_an_answer_that_only_looks_good_is_told(answer: bytes) -> None:
    with http_server() as listener:
        listener.body = answer
        delivery = send_ping(f"http://127.0.0.1:{listener.port}/{SECRET}", START)

    assert delivery.problem == f"the server answered: {answer.decode()}"


def test_nobody_there_is_told_without_the_address() -> None:
    delivery = send_ping(f"http://127.0.0.1:{free_port()}/{SECRET}", START)

    assert delivery.problem == "the server cannot be reached: Connection refused"


def test_what_is_no_http_is_told_without_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        server.settimeout(5)

        def answer() -> None:
            connection, _ = server.accept()
            connection.recv(4096)
            connection.sendall(f"{SECRET}\r\n\r\n".encode())
            connection.close()

        answering = threading.Thread(target=answer)
        answering.start()
        delivery = send_ping(f"http://127.0.0.1:{port}/{SECRET}", START)
        answering.join()

    assert delivery.problem
    assert SECRET not in delivery.problem


def test_a_server_that_hangs_costs_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping, "_TRY_SECONDS", 0.2)
    monkeypatch.setattr(ping, "_PAUSE_SECONDS", 0.01)
    with http_server() as listener:
        listener.hangs = True
        started = time.monotonic()

        delivery = send_ping(f"http://127.0.0.1:{listener.port}/{SECRET}", SUCCESS)

        assert time.monotonic() - started < patient(3)
    assert delivery.problem.startswith("no answer within")
    assert len(listener.asked) == 2


def test_a_server_that_sends_byte_by_byte_costs_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping, "_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes the connection, and never answers
        delivery = send_ping(f"http://127.0.0.1:{server.getsockname()[1]}/{SECRET}", START)

    assert delivery.problem == "no answer in time"
