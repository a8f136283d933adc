"""What the product says in JSON, held to its schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parent.parent
REPORT, REHEARSAL = ROOT / "runbook/document.schema.json", ROOT / "lab/rehearsal.schema.json"


def sound(document: Mapping[str, Any], schema: Path = REPORT) -> Mapping[str, Any]:
    """The document, after it has been held to its schema; a field that is not in the schema is wrong, too."""
    closed = _closed(json.loads(schema.read_text()))
    jsonschema.Draft202012Validator.check_schema(closed)
    jsonschema.validate(document, closed, jsonschema.Draft202012Validator)
    return document


def _closed(schema: Any) -> Any:  # noqa: ANN401 - any piece of JSON
    """The same, with nothing allowed that it does not name: to those who read, others are no harm."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: _closed(each) for key, each in schema.items()}
    return {"additionalProperties": False, **inner} if isinstance(schema.get("properties"), dict) else inner
