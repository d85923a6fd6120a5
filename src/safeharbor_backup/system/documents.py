"""JSON documents as typed structures: how each is read, though it may be damaged or hostile, and how it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec

from safeharbor_backup.text import ascii_safe

Document = TypeVar("Document", bound=msgspec.Struct)
Strict = TypeVar("Strict")

# msgspec's own are ValueErrors in late versions only; a lone surrogate in a key is one
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
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


def convert_document(document: object, kind: type[Document]) -> Document:
    """The same of what was loaded. Raises Misfit."""
    found: Document = _convert(document, kind, "", is_strict=True)
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


def dump_document(document: object, indent: int | None = None, *, sorts: bool = False) -> str:
    """The document as ASCII JSON, its fields in the order of its class; `sorts` sets and keys."""
    order: Literal["deterministic"] | None = "deterministic" if sorts else None
    return json.dumps(msgspec.to_builtins(document, order=order), indent=indent)


@cache
def _decoder(kind: type[Document]) -> msgspec.json.Decoder[Document]:
    return msgspec.json.Decoder(kind)


def _convert(value: object, kind: Any, path: str, *, is_strict: bool) -> Any:
    """`value` as `kind`. What does not fit is left out where it may be missing, unless `is_strict` for dicts' items."""
    try:
        return msgspec.convert(value, kind)
    except _UNREADABLE:
        pass
    kind = _without_none(kind)
    if not isinstance(value, dict) or not _is_object(kind):
        raise Misfit(f"{ascii_safe(path) or 'it'} is not {_name(kind)}")
    within = f"{path}." if path else ""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _convert_fields(value, kind, within)
    converted = {}
    for key, item in value.items():
        try:
            converted[key] = _convert(item, get_args(kind)[1], f"{within}{key}", is_strict=is_strict)
        except Misfit:
            if is_strict:
                raise
    return converted


def _convert_fields(value: Mapping[str, object], kind: type[msgspec.Struct], within: str) -> msgspec.Struct:
    converted = {}
    for field in msgspec.structs.fields(kind):
        if not field.required and field.encode_name not in value:
            continue
        given, path = value.get(field.encode_name), f"{within}{field.encode_name}"
        try:
            converted[field.name] = _convert(given, field.type, path, is_strict=field.required)
        except Misfit:
            if field.required:
                raise
    return kind(**converted)


def _without_none(kind: Any) -> Any:
    """`T` of `T | None` and of `Annotated[T, ...]`."""
    if get_origin(kind) is Annotated:
        return get_args(kind)[0]
    parts = [part for part in get_args(kind) if part is not NoneType]
    return _without_none(parts[0]) if NoneType in get_args(kind) else kind


def _is_object(kind: Any) -> bool:
    origin = get_origin(kind) or kind
    return isinstance(origin, type) and issubclass(origin, msgspec.Struct | Mapping)


def _name(kind: Any) -> str:
    if _is_object(kind):
        return "an object"
    names = {int: "a number", str: "a text", bool: "true or false"}
    return names.get(kind, "a list of texts" if get_args(kind)[:1] == (str,) else "a list")
