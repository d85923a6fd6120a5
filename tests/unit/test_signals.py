from __future__ import annotations

import os
import signal
import subprocess
import threading
import time

import pytest

from safeharbor_backup.errors import Interrupted
from safeharbor_backup.system.process import started_tool
from safeharbor_backup.system.signals import signals_held, signals_interrupt


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_interrupts_once_and_the_clean_up_is_not_disturbed(number: signal.Signals) -> None:
    cleaned_up = False
    before = signal.signal(number, signal.SIG_DFL)  # whoever started the tests may have it ignored (nohup)

    with pytest.raises(Interrupted) as caught, signals_interrupt():  # noqa: PT012 - the clean-up is the point
        try:
            os.kill(os.getpid(), number)
        finally:
            os.kill(os.getpid(), number)
            cleaned_up = True

    signal.signal(number, before)
    assert cleaned_up
    assert caught.value.exit_status == 128 + number


def test_the_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)

    with signals_interrupt():
        assert signal.getsignal(signal.SIGTERM) is not before

    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_interrupt():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_nothing_changes() -> None:
    seen = []

    def enter() -> None:
        with signals_interrupt():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()

    assert seen == [before]


@pytest.mark.parametrize("times", [1, 2])
def test_a_held_signal_waits_also_if_another_thread_gets_it(times: int) -> None:
    done: list[str] = []
    ended = threading.Event()
    other = threading.Thread(target=ended.wait)  # masks nothing, so that the kernel gives the signal to it
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    other.start()
    try:
        with pytest.raises(Interrupted), signals_interrupt():  # noqa: PT012 - what was done before it is the point
            with signals_held():
                with signals_held():
                    for _ in range(times):
                        os.kill(os.getpid(), signal.SIGTERM)
                        time.sleep(0.01)
                    done.append("inner")
                done.append("outer")
            done.append("after")
    finally:
        ended.set()
        other.join()
        signal.signal(signal.SIGTERM, before)

    assert done == ["inner", "outer"]
    with signals_interrupt(), signals_held():
        pass  # nothing of it is left for whoever comes next


def test_a_program_that_starts_while_a_signal_comes_is_ended() -> None:
    ended = threading.Event()
    other = threading.Thread(target=ended.wait)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    other.start()
    real = subprocess.Popen.__init__

    def signalled(self: subprocess.Popen[bytes], *arguments: object, **named: object) -> None:
        real(self, *arguments, **named)  # type: ignore[call-overload]
        started.append(self)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)

    started: list[subprocess.Popen[bytes]] = []
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(subprocess.Popen, "__init__", signalled)
            with pytest.raises(Interrupted), signals_interrupt(), started_tool(["sleep", "60"]):
                pytest.fail("it was told to stop")
    finally:
        ended.set()
        other.join()
        signal.signal(signal.SIGTERM, before)

    assert [each.poll() for each in started] == [-signal.SIGTERM]
