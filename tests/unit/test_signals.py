from __future__ import annotations

import os
import signal
import threading

import pytest

from safeharbor.errors import Interrupted
from safeharbor.signals import signals_interrupt


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
