"""Mutants of our modules: mutmut's operators on each function, put into the running module by its code object.

mutmut's own runner leaves out every decorated function, and so `published_whole` and the properties of the swap; and it
imports all tests anew for each mutant. Here a mutant is the same text change, compiled, and given to the function that
is loaded already, in a child that ends after it.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, cast

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.file_mutation import Mutation, MutationVisitor, OuterFunctionProvider
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import IgnoredCode


@dataclass(frozen=True)
class Mutant:
    """One change of one module. `within` is the function that it is in; `key` names it for people."""

    module: str
    within: str
    key: str
    tree: cst.Module
    mutation: Mutation

    @property
    def text(self) -> str:
        """The whole module with the change."""
        changed = self.tree.deep_replace(self.mutation.original_node, self.mutation.mutated_node)
        return cast("cst.Module", changed).code


class _Visitor(MutationVisitor):
    """Goes into decorated functions too."""

    METADATA_DEPENDENCIES = (PositionProvider, OuterFunctionProvider)

    def __init__(self) -> None:
        super().__init__(mutation_operators, IgnoredCode(set(), set(), set()), None)
        self.lines: list[int] = []

    def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.FunctionDef) and node.decorators:
            return False
        if isinstance(node, cst.SimpleString):  # a docstring, or words for people
            return " " in node.value
        return bool(super()._skip_node_and_children(node))

    def _create_mutations(self, node: cst.CSTNode) -> None:
        before = len(self.mutations)
        super()._create_mutations(node)
        if isinstance(node, cst.SimpleString):
            del self.mutations[before + 1 :]  # in capitals, and in small letters
        line = self.get_metadata(PositionProvider, node).start.line
        self.lines += [line] * (len(self.mutations) - before)


def mutants_of(module: str) -> Iterator[Mutant]:
    """All mutants of the functions and methods of a module."""
    loaded = importlib.import_module(module)
    visitor = _Visitor()
    tree = MetadataWrapper(cst.parse_module(_source(loaded)), unsafe_skip_copy=True).visit(visitor)
    places = _places_in(loaded)
    seen: dict[str, int] = {}
    for mutation, line in zip(visitor.mutations, visitor.lines, strict=True):
        if line not in places:
            continue
        before, after = (tree.code_for_node(each) for each in (mutation.original_node, mutation.mutated_node))
        key = " ".join(f"{places[line]}: {before}  =>  {after}".split())
        seen[key] = seen.get(key, 0) + 1
        yield Mutant(module, places[line], f"{key} #{seen[key]}" if seen[key] > 1 else key, tree, mutation)


def put_in_place(mutant: Mutant) -> None:
    """Change the running program. There is no way back: do it in a child."""
    loaded = sys.modules[mutant.module]
    old = dict(functions_of(loaded))[mutant.within]
    new = dict(functions_of(_executed(loaded, mutant.text)))[mutant.within]
    old.__code__ = new.__code__
    if _is_plain(new.__defaults__) and _is_plain(old.__defaults__):
        old.__defaults__ = new.__defaults__
    if _is_plain(tuple((new.__kwdefaults__ or {}).values())):
        old.__kwdefaults__ = new.__kwdefaults__


def take_notes(module: str) -> set[str]:
    """A set to which each function of the module adds its name when it is called, from now on."""
    loaded = sys.modules[module]
    tree = ast.parse(_source(loaded))
    holders: list[tuple[ast.Module | ast.ClassDef, str]] = [(tree, "")]
    holders += [(each, f"{each.name}.") for each in tree.body if isinstance(each, ast.ClassDef)]
    for holder, prefix in holders:
        for function in holder.body:
            if isinstance(function, ast.FunctionDef):
                function.body[:0] = ast.parse(f"{_NOTES}.add({prefix + function.name!r})").body
    noting = dict(functions_of(_executed(loaded, ast.fix_missing_locations(tree))))
    for name, running in functions_of(loaded):
        running.__code__ = noting[name].__code__
    notes: set[str] = set()
    setattr(loaded, _NOTES, notes)
    return notes


_NOTES = "_functions_called"


def _source(module: ModuleType) -> str:
    return Path(cast("str", module.__file__)).read_text()


def _executed(loaded: ModuleType, text: str | ast.Module) -> ModuleType:
    """A module of the same name and another text, which nobody imports."""
    fresh = ModuleType(loaded.__name__)
    fresh.__file__ = loaded.__file__
    sys.modules[loaded.__name__] = fresh  # a dataclass looks for its own module
    try:
        exec(compile(text, cast("str", loaded.__file__), "exec"), fresh.__dict__)
    finally:
        sys.modules[loaded.__name__] = loaded
    return fresh


def _is_plain(values: tuple[Any, ...] | None) -> bool:
    return all(each is None or isinstance(each, bool | int | float | str | bytes) for each in values or ())


def _places_in(module: ModuleType) -> dict[int, str]:
    """By line the function or the method that has it."""
    found: dict[int, str] = {}
    for name, function in functions_of(module):
        code = function.__code__
        found |= dict.fromkeys(range(code.co_firstlineno, _last_line(code) + 1), name)
    return found


def functions_of(module: ModuleType) -> list[tuple[str, FunctionType]]:
    """The functions and methods that a module defines, by their qualified names."""
    found: list[tuple[str, FunctionType]] = []

    def look(names: dict[str, Any], prefix: str) -> None:
        for name, value in names.items():
            if inspect.isclass(value) and value.__module__ == module.__name__ and not prefix:
                look(dict(vars(value)), f"{name}.")
            else:
                function = _function_in(value)
                is_ours = function is not None and function.__code__.co_filename == module.__file__
                if function is not None and is_ours and function.__qualname__ == prefix + name:
                    found.append((prefix + name, function))

    look(dict(vars(module)), "")
    return found


def _function_in(value: object) -> FunctionType | None:
    if isinstance(value, property):
        value = value.fget
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    while hasattr(value, "__wrapped__"):
        value = value.__wrapped__
    return value if isinstance(value, FunctionType) else None


def _last_line(code: CodeType) -> int:
    lines = [line for _, _, line in code.co_lines() if line is not None]
    nested = [_last_line(each) for each in code.co_consts if isinstance(each, CodeType)]
    return max([*lines, *nested, code.co_firstlineno])
