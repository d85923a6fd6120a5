"""What `init` asks, each also an option; nobody is asked who is not at a terminal."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.cli.streams import lost_output
from safeharbor_backup.errors import SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from safeharbor_backup.cli.output import Output


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, the setting that the answer is, the option that gives it, and what Enter stands for.

    `find_fault` says what was expected of an answer that cannot be used, else "".
    """

    variable: str
    option: str
    text: str
    by_default: str = ""
    find_fault: Callable[[str], str] = lambda _: ""


def is_at_terminal() -> bool:
    """Whether standard input is a terminal, where somebody can answer."""
    return sys.stdin is not None and sys.stdin.isatty()


def ask_all(output: Output, questions: Iterable[Question]) -> dict[str, str]:
    """The answers, by setting. Raises SettingsInvalid, naming all options that are missing, if nobody can answer."""
    open_ones = list(questions)
    if open_ones and not is_at_terminal():
        lacking = [f"{each.option}: expected {each.text}; nobody is at a terminal to be asked" for each in open_ones]
        raise SettingsInvalid(lacking, hint="Give these options, or run this at a terminal. Nothing was changed.")
    return {each.variable: _ask(output, each) for each in open_ones}


def _ask(output: Output, question: Question) -> str:
    shown = f" [{question.by_default}]" if question.by_default else ""
    while True:
        output.ask(f"{question.text[0].upper()}{question.text[1:]}{shown}:")
        line = "" if lost_output() else sys.stdin.readline()
        if not line:
            raise SettingsInvalid(
                [f"{question.option}: expected an answer; the input ended"], hint="Nothing was changed."
            )
        answer = os.path.expanduser(line.strip()) or question.by_default
        fault = question.find_fault(answer) if answer else "an answer"
        if not fault:
            return answer
        output.line(f"Expected {fault}.")
