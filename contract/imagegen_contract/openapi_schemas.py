"""The schemas of the OpenAPI document: msgspec's of the message structs, and what a struct cannot say.

That is the defaults of the request (None in the struct, which is how it knows that a field was left out) and the values
that decode only to be refused in words.
"""

import inspect
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from imagegen_contract.errors import KINDS, ErrorBody, ErrorCode
from imagegen_contract.images import MAX_PROMPT_CHARACTERS, GenerateImage, ImagesReply, ModelInfo, ModelList
from imagegen_contract.samplers import CLASS_NAMES, PRESETS
from imagegen_contract.server_status import ServerStatus

Json = dict[str, Any]

SCHEMA_PATH = "#/components/schemas/{name}"

_STRUCTS = (GenerateImage, ImagesReply, ModelList, ModelInfo, ErrorBody, ServerStatus)

_REQUEST_FIELDS: dict[str, Json] = {
    "prompt": {"minLength": 1, "maxLength": MAX_PROMPT_CHARACTERS},
    "n": {"default": 1},
    "size": {"default": "auto"},
    "response_format": {"enum": ["b64_json"], "default": "b64_json"},
    "output_format": {"enum": ["png", "webp", "jpeg"], "default": "png"},
    "output_compression": {"default": 100},
    "quality": {"enum": ["auto", "low", "medium", "high", "standard", "hd"], "default": "auto"},
    "background": {"enum": ["auto", "opaque"], "default": "auto"},
    "stream": {"enum": [False], "default": False},
    "partial_images": {"maximum": 0, "default": 0},
    "scheduler": {"enum": [*PRESETS, *CLASS_NAMES]},
}
"""What is honoured, field by field, beyond what GenerateImage says."""


def schemas() -> Json:
    """Return the schema of each message by its name."""
    _, components = msgspec.json.schema_components(_STRUCTS, ref_template=SCHEMA_PATH)
    named = cast("Json", _tidy(components))
    named["GenerateImage"]["properties"] = {
        name: _request_field(schema, _REQUEST_FIELDS.get(name, {}))
        for name, schema in named["GenerateImage"]["properties"].items()
    }
    error = named["ErrorDetail"]["properties"]
    error["code"]["enum"] = [code.value for code in ErrorCode]
    error["type"]["enum"] = sorted({kind.type for kind in KINDS.values()})
    return named


def _request_field(schema: Json, more: Mapping[str, object]) -> Json:
    """Return a field's schema with ``more`` in the branch that is not null, and the default beside the branches."""
    rules = {key: value for key, value in more.items() if key != "default"}
    field = {key: value for key, value in schema.items() if key != "default"}
    if "anyOf" in field:
        value, *null = cast("list[Json]", field["anyOf"])
        field["anyOf"] = [value | rules, *null]
    else:
        field |= rules
    return field | ({"default": more["default"]} if "default" in more else {})


def _tidy(node: object) -> object:
    """Return ``node`` with descriptions, which are docstrings, as Markdown without their indentation."""
    if isinstance(node, dict):
        items = cast("Json", node).items()
        return {key: _prose(value) if key == "description" else _tidy(value) for key, value in items}
    return [_tidy(inner) for inner in cast("list[object]", node)] if isinstance(node, list) else node


def _prose(text: object) -> object:
    return inspect.cleandoc(text).replace("``", "`") if isinstance(text, str) else _tidy(text)
