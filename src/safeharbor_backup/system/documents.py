"""JSON documents as typed structures: how each is read, though it may be damaged or hostile, and how it is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from safeharbor_backup.text import ascii_safe

Document = TypeVar("Document", bound=msgspec.Struct)
Strict = TypeVar("Strict")

# msgspec's own are ValueErrors in late versions only; a lone surrogate in a key is one
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
_MOST_ITEMS = 1000
Count = Annotated[int, msgspec.Meta(ge=0)]


class NotJson(ValueError):
    """What was read is not JSON at all."""


class Misfit(ValueError):
    """A field that must be there is missing or of another type; the message names it."""


def read_document(data: bytes, kind: type[Document]) -> Document:
    """The document in `data`. Unknown fields are ignored; an optional field of another type counts as missing.

    Raises NotJson, Misfit.
    """
    try:
        found: Document = _decoder(kind).decode(data)
    except _UNREADABLE:  # which field it is, and whether that matters, is not known yet
        return convert_document(load_json(data), kind)
    return found


def load_json(data: bytes) -> object:
    """What JSON there is, of no type yet. Raises NotJson."""
    try:
        return json.loads(data)  # decision 89: names of files that are not UTF-8 are lone surrogates
    except (ValueError, RecursionError):
        raise NotJson("it is not JSON") from None


def convert_document(document: object, kind: type[Document], sane: Callable[[Any], Any] | None = None) -> Document:
    """The same of what was loaded. Raises Misfit.

    With `sane`, which each text, number and moment passes through and which may raise Misfit, lists are cut to their
    greatest length, and those of their items that do not fit are left out.
    """
    found: Document = _convert(document, kind, "", sane, is_strict=True)
    return found


def read_exactly(data: bytes, kind: type[Strict]) -> Strict:
    """The document in `data`, a structure or a dataclass; no field may be of another type, unknown ones are ignored.

    Raises NotJson, Misfit.
    """
    return convert_exactly(load_json(data), kind)


def convert_exactly(document: object, kind: type[Strict]) -> Strict:
    """The same of what was loaded. Raises Misfit."""
    try:
        return msgspec.convert(document, kind)
    except _UNREADABLE as error:
        raise Misfit(str(error)) from None


def dump_document(document: object, indent: int | None = None, *, sorts: bool = False, is_compact: bool = False) -> str:
    """The document as ASCII JSON, its fields in the order of its class; `sorts` sets and keys."""
    order: Literal["deterministic"] | None = "deterministic" if sorts else None
    separators = (",", ":") if is_compact else None
    return json.dumps(msgspec.to_builtins(document, order=order), indent=indent, separators=separators)


@cache
def _decoder(kind: type[Document]) -> msgspec.json.Decoder[Document]:
    return msgspec.json.Decoder(kind)


def _convert(value: Any, kind: Any, path: str, sane: Callable[[Any], Any] | None, *, is_strict: bool) -> Any:
    """`value` as `kind`. What does not fit is left out where it may be missing, unless `is_strict` for dicts' items."""
    plain, most, item = _shape(kind)
    if sane is None or item is None:
        try:
            found = msgspec.convert(value, kind)
        except _UNREADABLE:
            pass
        else:
            return found if sane is None or found is None else sane(found)
    elif value is None and kind is not plain:
        return _convert(None, kind, path, None, is_strict=True)
    within = f"{path}." if path else ""
    if isinstance(value, dict) and item is msgspec.Struct:
        return _convert_fields(value, plain, within, sane)
    if isinstance(value, dict) and item is not None and most is None:
        pairs = ((f"{within}{key}", key, inner) for key, inner in value.items())
        converted = {}
        for where, key, inner in pairs:
            try:
                converted[key if sane is None else sane(key)] = _convert(inner, item, where, sane, is_strict=is_strict)
            except Misfit:
                if is_strict:
                    raise
        return converted
    if isinstance(value, list | tuple) and most is not None and sane is not None:
        return tuple(_fitting(value[:most], item, path, sane))
    raise Misfit(f"{ascii_safe(path) or 'it'} is not {_name(plain)}")


def _fitting(items: Iterable[Any], kind: Any, path: str, sane: Callable[[Any], Any]) -> Iterator[Any]:
    for each in items:
        try:
            yield _convert(each, kind, path, sane, is_strict=False)
        except Misfit:
            pass


def _convert_fields(
    value: Mapping[str, object], kind: type[msgspec.Struct], within: str, sane: Callable[[Any], Any] | None
) -> msgspec.Struct:
    converted = {}
    for field in _fields(kind):
        if not field.required and field.encode_name not in value:
            continue
        given, path = value.get(field.encode_name), f"{within}{field.encode_name}"
        try:
            converted[field.name] = _convert(given, field.type, path, sane, is_strict=field.required)
        except Misfit:
            if field.required:
                raise
    return kind(**converted)


@cache
def _fields(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)


@cache
def _shape(kind: Any) -> tuple[Any, int | None, Any]:
    """`kind` without None and notes; the greatest length of a list; what its items are, Struct for a structure."""
    most = _MOST_ITEMS
    while get_origin(kind) in (Annotated, Union, UnionType):
        if get_origin(kind) is Annotated:
            lengths = [note.max_length for note in get_args(kind)[1:] if isinstance(note, msgspec.Meta)]
            most = next((length for length in lengths if length is not None), most)
            kind = get_args(kind)[0]
        else:
            kind = next(part for part in get_args(kind) if part is not NoneType)
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind, None, msgspec.Struct
    if origin is not None and issubclass(origin, Mapping):
        return kind, None, inner[1]
    if origin is tuple and inner[1:] == (...,):
        return kind, most, inner[0]
    return kind, None, None


def _name(kind: Any) -> str:
    _, most, item = _shape(kind)
    if item is not None and most is None:
        return "an object"
    names = {int: "a number", str: "a text", bool: "true or false"}
    return names.get(kind, "a list of texts" if item is str else "a list")
