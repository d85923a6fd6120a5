"""The statements of an entry that grants or revokes, as pg_dump writes them, and the roles in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = re.compile(r'"(?:[^"]|"")*"|\'(?:[^\']|\'\')*\'|[^\s"\';,()]+|[;,()"\']')


class Token(NamedTuple):
    """A word of SQL; `text` without its quotes."""

    text: str
    is_quoted: bool
    end: int


@dataclass(frozen=True, slots=True)
class Grant:
    """A statement without its semicolon. `roles` are those that it names; `grantor` is set if it is not the owner.

    `takes_from` is the role that it takes rights from, "PUBLIC" for everybody, or "".
    """

    sql: str
    roles: frozenset[str]
    grantor: str
    takes_from: str


def tokens_of(statement: str) -> Iterator[Token]:
    """The words of SQL that has no comments and no dollar quotes."""
    for found in _TOKEN.finditer(statement):
        text = found[0]
        is_quoted = len(text) > 1 and text[0] in "\"'"
        if is_quoted:
            text = text[1:-1].replace(text[0] * 2, text[0])
        yield Token(text, is_quoted, found.end())


def read_grants(definition: str) -> list[Grant]:
    """The grants and revokes of an ACL entry, each with the role that its session becomes for it."""
    grants: list[Grant] = []
    grantor = ""
    start = 0
    words: list[Token] = []
    for token in tokens_of(definition):
        if token.is_quoted or token.text != ";":
            words.append(token)
            continue
        keywords = [word.text for word in words[:3]]
        if keywords[1:] == ["SESSION", "AUTHORIZATION"]:
            grantor = words[3].text if keywords[0] == "SET" and len(words) > 3 else ""
        elif words:
            grants.append(_grant(definition[start : token.end - 1].strip(), words, grantor))
        start, words = token.end, []
    return grants


def _grant(sql: str, words: list[Token], grantor: str) -> Grant:
    roles = set()
    takes_from = ""
    taking = any(word == ("REVOKE", False) for word in ((each.text, each.is_quoted) for each in words))
    for before, word in pairwise(words):
        if before.is_quoted or before.text not in ("TO", "FROM", "ROLE"):
            continue
        is_public = word.text.upper() == "PUBLIC" and not word.is_quoted
        if not is_public:
            roles.add(word.text)
        if before.text == "FROM" and taking:
            takes_from = "PUBLIC" if is_public else word.text
    return Grant(sql, frozenset(roles), grantor, takes_from)
