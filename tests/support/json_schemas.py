"""Whether JSON documents are as the schemas in the documentation say."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

_SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "schemas"


def complaints(schema: str, document: object) -> list[str]:
    """What of the document its schema does not allow or, stricter than for a reader, does not name."""
    return [f"{error.json_path}: {error.message}" for error in _validator(schema).iter_errors(document)]


@cache
def _validator(schema: str) -> Any:
    content = json.loads((_SCHEMAS / f"{schema}.json").read_text())
    for kind in content["$defs"].values():
        if "properties" in kind:
            kind["additionalProperties"] = False
            optional = {key for key, inner in kind["properties"].items() if "default" in inner}
            kind["required"] = [*kind.get("required", []), *optional]  # we write them all
    Draft202012Validator.check_schema(content)
    return Draft202012Validator(content)
