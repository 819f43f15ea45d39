"""The OpenAPI document: valid, complete, and true to the structs."""

import json
import re
from typing import Any

import jsonschema_rs
import msgspec
import pytest
import schemathesis
from schemathesis.core.result import Ok

from imagegen_contract.errors import KINDS, ErrorBody, ErrorCode
from imagegen_contract.images import GenerateImage, ImagesReply, ModelInfo, ModelList
from imagegen_contract.openapi import openapi_document
from imagegen_contract.openapi_examples import ERRORS
from imagegen_contract.samplers import CLASS_NAMES, PRESETS, resolve_preset
from imagegen_contract.server_status import ServerStatus

Json = dict[str, Any]

DOCUMENT: Json = openapi_document("1.2.3")
GENERATION: Json = DOCUMENT["paths"]["/v1/images/generations"]["post"]
REQUEST_FIELDS: Json = DOCUMENT["components"]["schemas"]["GenerateImage"]["properties"]
OPERATIONS = {
    f"{method} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}


def validator(schema: Json) -> Any:
    """Return a validator of a schema that may refer to the document's components."""
    return jsonschema_rs.Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def request_validator() -> Any:
    return validator({"$ref": "#/components/schemas/GenerateImage"})


def content(response: Json) -> Json:
    (body,) = response["content"].values()
    return body


def test_the_document_is_valid_openapi() -> None:
    schemathesis.openapi.from_dict(DOCUMENT).validate()


def test_tools_find_every_operation() -> None:
    found = [
        operation.ok().label
        for operation in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()
        if isinstance(operation, Ok)
    ]
    assert found == [
        "POST /v1/images/generations",
        "GET /v1/models",
        "GET /v1/models/{model_id}",
        "POST /v1/models/{model_id}/load",
        "POST /v1/models/{model_id}/unload",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
        "GET /status",
        "GET /",
        "GET /openapi.json",
        "GET /docs",
    ]


def test_a_pod_s_document_has_no_routes_to_manage_models() -> None:
    paths: Any = openapi_document("1", manages_models=False)["paths"]
    assert set(DOCUMENT["paths"]) - set(paths) == {
        "/v1/models/{model_id}/load",
        "/v1/models/{model_id}/unload",
    }


def test_the_document_is_json_and_says_its_version() -> None:
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT
    assert (DOCUMENT["openapi"], DOCUMENT["info"]["version"]) == ("3.1.0", "1.2.3")


def test_every_schema_is_valid_json_schema() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)


def test_every_reference_leads_somewhere() -> None:
    references = set(re.findall(r'"\$ref": "#/components/(\w+)/(\w+)"', json.dumps(DOCUMENT)))
    assert references
    assert all(name in DOCUMENT["components"][kind] for kind, name in references)


def test_every_operation_has_an_id_of_its_own_a_tag_and_a_summary() -> None:
    assert len({operation["operationId"] for operation in OPERATIONS.values()}) == len(OPERATIONS)
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    assert all(set(operation["tags"]) <= tags and operation["summary"] for operation in OPERATIONS.values())


@pytest.mark.parametrize("code", ErrorCode)
def test_every_error_code_is_explained_and_has_an_example(code: ErrorCode) -> None:
    assert f"| {KINDS[code].status} | `{code.value}` | {ERRORS[code].meaning} |" in DOCUMENT["info"]["description"]
    assert code.value in DOCUMENT["components"]["schemas"]["ErrorDetail"]["properties"]["code"]["enum"]


@pytest.mark.parametrize("code", [code for code in ErrorCode if code is not ErrorCode.NOT_FOUND])
def test_generation_documents_every_code_under_its_status(code: ErrorCode) -> None:
    response = GENERATION["responses"][str(KINDS[code].status)]
    example = content(response)["examples"][code.value]["value"]
    error = msgspec.convert(example, ErrorBody).error
    assert (error.code, error.type) == (code.value, KINDS[code].type)
    assert validator(content(response)["schema"]).is_valid(example)


def test_generation_documents_all_statuses_and_no_others() -> None:
    assert set(GENERATION["responses"]) == {"200"} | {str(kind.status) for kind in KINDS.values()}


def test_every_reply_has_the_request_id() -> None:
    for operation in OPERATIONS.values():
        assert all("x-request-id" in response["headers"] for response in operation["responses"].values())


def test_replies_that_say_when_to_come_back_are_those_of_full_and_not_ready() -> None:
    told = {status for status, response in GENERATION["responses"].items() if "Retry-After" in response["headers"]}
    assert told == {"429", "503"}


def test_replies_that_overrule_the_sdk_say_so() -> None:
    told = {status for status, response in GENERATION["responses"].items() if "x-should-retry" in response["headers"]}
    assert told == {str(kind.status) for kind in KINDS.values() if kind.retry is not None}


def test_an_unknown_model_is_a_404() -> None:
    assert list(content(OPERATIONS["get /v1/models/{model_id}"]["responses"]["404"])["examples"]) == ["model_not_found"]


def test_readiness_says_in_a_code_why_not() -> None:
    responses = OPERATIONS["get /readyz"]["responses"]
    assert list(responses) == ["200", "503"]
    assert list(content(responses["503"])["examples"]) == ["model_loading", "model_failed", "draining"]


@pytest.mark.parametrize("name", [field.name for field in msgspec.structs.fields(GenerateImage)])
def test_every_request_field_has_a_description(name: str) -> None:
    assert REQUEST_FIELDS[name]["description"]


DEFAULTS = {
    "n": 1,
    "size": "auto",
    "response_format": "b64_json",
    "output_format": "png",
    "output_compression": 100,
    "quality": "auto",
    "background": "auto",
    "stream": False,
    "partial_images": 0,
}


def test_fields_with_a_fixed_default_say_it() -> None:
    assert {name: field["default"] for name, field in REQUEST_FIELDS.items() if "default" in field} == DEFAULTS


def test_the_defaults_are_valid_together() -> None:
    assert request_validator().is_valid({"prompt": "x", **DEFAULTS})


ACCEPTED: dict[str, Json] = {
    "null is the same as left out": dict.fromkeys(REQUEST_FIELDS, None),
    "the range of n": {"n": 10},
    "the largest seed": {"seed": 2**53 - 1},
    "a size": {"size": "512x768"},
    "OpenAI's older qualities": {"quality": "hd"},
    "a diffusers class name": {"scheduler": "DDIMScheduler"},
}
REFUSED: dict[str, Json] = {
    "an unknown field": {"x": 1},
    "too many pictures": {"n": 11},
    "a seed that JSON clients cannot keep": {"seed": 2**53},
    "a blank prompt": {"prompt": " "},
    "a prompt without end": {"prompt": "x" * 32_001},
    "a size in words": {"size": "large"},
    "a link to the picture": {"response_format": "url"},
    "a transparent background": {"background": "transparent"},
    "a stream": {"stream": True},
    "partial images": {"partial_images": 1},
    "an unknown sampler": {"scheduler": "dpm++"},
    "compression beyond the range": {"output_compression": 101},
}


@pytest.mark.parametrize("fields", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_the_schema_accepts(fields: Json) -> None:
    assert request_validator().is_valid({**fields, "prompt": "x"})


@pytest.mark.parametrize("fields", REFUSED.values(), ids=REFUSED.keys())
def test_the_schema_refuses(fields: Json) -> None:
    assert not request_validator().is_valid({"prompt": "x", **fields})


def test_a_request_needs_a_prompt_only() -> None:
    assert DOCUMENT["components"]["schemas"]["GenerateImage"]["required"] == ["prompt"]


def test_every_documented_scheduler_is_known() -> None:
    documented = REQUEST_FIELDS["scheduler"]["anyOf"][0]["enum"]
    assert set(documented) == {*PRESETS, *CLASS_NAMES}
    assert all(resolve_preset(name) for name in documented)


@pytest.mark.parametrize("name", ["minimal", "extension_fields", "several_images"])
def test_a_request_example_decodes_and_fits_its_schema(name: str) -> None:
    example = GENERATION["requestBody"]["content"]["application/json"]["examples"][name]["value"]
    assert msgspec.json.decode(json.dumps(example), type=GenerateImage).prompt
    assert request_validator().is_valid(example)


REPLIES = {
    "post /v1/images/generations": ImagesReply,
    "get /v1/models": ModelList,
    "get /v1/models/{model_id}": ModelInfo,
    "get /status": ServerStatus,
}


@pytest.mark.parametrize(("operation", "struct"), REPLIES.items())
def test_a_reply_example_decodes_and_fits_its_schema(operation: str, struct: type[msgspec.Struct]) -> None:
    body = content(OPERATIONS[operation]["responses"]["200"])
    assert msgspec.json.encode(msgspec.convert(body["example"], struct))
    assert validator(body["schema"]).is_valid(body["example"])


def test_the_example_model_stands_in_every_example() -> None:
    text = json.dumps(openapi_document("1", example_model="acme/one"))
    assert '"model": "acme/one"' in text
    assert '"id": "acme/one"' in text


def test_descriptions_are_markdown() -> None:
    descriptions = re.findall(r'"description": "((?:[^"\\]|\\.)*)"', json.dumps(DOCUMENT))
    assert not [text for text in descriptions if "``" in text or "\\n    " in text]


def test_two_documents_share_nothing() -> None:
    first: Json = openapi_document("1")
    first["components"]["headers"].clear()
    first["tags"].clear()
    second: Json = openapi_document("1")
    assert second["components"]["headers"]
    assert second["tags"]
