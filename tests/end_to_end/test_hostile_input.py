"""Whatever a client sends is answered with pictures or a valid error body, and nobody else notices.

The OpenAPI document drives schemathesis; bodies and headers are made up by hypothesis. Broken connections are in
test_hostile_connections.py.
"""

import codecs
import gzip
import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok

from answers import attempts, new_request_id, valid_generation
from conftest import Show
from imagegen_contract.errors import ErrorCode
from imagegen_contract.images import GenerateImage
from imagegen_contract.names import MODEL_HEADER, REQUEST_ID_HEADER, REQUEST_TIMEOUT_HEADER
from imagegen_contract.openapi import openapi_document
from server_process import ServerProcess

PATH = "/v1/images/generations"
FIELDS = [*GenerateImage.__struct_fields__]
VALID: dict[str, Any] = {
    "prompt": "a red circle",
    "model": "shapes",
    "n": 1,
    "size": "64x64",
    "output_format": "png",
    "quality": "low",
    "seed": 1,
    "num_inference_steps": 1,
    "guidance_scale": 3.0,
    "scheduler": "ddim",
    "negative_prompt": "blue",
    "user": "somebody",
}
FUZZ = settings(
    deadline=None,  # whatever is valid by chance waits for its turn on the device
    derandomize=True,  # the same examples in every run: a failure is a change of ours
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)

Post = Callable[..., httpx.Response]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("bystander")]

# Not checked: positive_data_acceptance. A body that fits the schema may still be refused for what no schema can say:
# size against the model's area, compression of png, negative prompt without guidance, room for seed + n - 1.
# 503 and 504 are documented answers, and examples of the time-out header are tiny; 500 never is one.
DOCUMENT = schemathesis.openapi.from_dict(
    openapi_document("0"),
    config=schemathesis.Config.from_dict(
        {
            "checks": {
                "positive_data_acceptance": {"enabled": False},
                "not_a_server_error": {"expected-statuses": ["2xx", "4xx", 503, 504]},
            }
        }
    ),
)


MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)


@pytest.mark.alone  # one test for each operation, all of one id
@DOCUMENT.parametrize()  # pyright: ignore[reportUntypedFunctionDecorator] - untyped in schemathesis
@settings(FUZZ, phases=[Phase.explicit])
def test_examples_and_limits_of_the_document_are_answered_as_it_says(case: Any, abused: ServerProcess) -> None:
    """Explicit examples only: those of the document, and those that schemathesis derives from each rule of it."""
    case.call_and_validate(base_url=abused.url)


@pytest.mark.acceptance
def test_made_up_requests_are_answered_as_the_document_says(abused: ServerProcess, show: Show) -> None:
    seen: Counter[int] = Counter()
    operations = [found.ok() for found in DOCUMENT.get_all_operations() if isinstance(found, Ok)]
    for operation in operations:
        for mode in MODES if operation.body else MODES[:1]:

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(FUZZ, max_examples=40 if operation.body else 10)
            def answers_conform(case: Any) -> None:
                seen[case.call_and_validate(base_url=abused.url).status_code] += 1

            answers_conform()
    assert set(seen) >= {200, 400, 404}
    show("6 hostile input: schemathesis on our OpenAPI document", f"{len(operations)} operations, {told(seen)}")


def test_the_document_is_the_served_one(abused: ServerProcess) -> None:
    served = abused.get("/openapi.json").json()
    assert served == openapi_document(served["info"]["version"])


@pytest.fixture(scope="module")
def post(abused: ServerProcess) -> Iterator[Post]:
    """Return a function that posts a body and checks that the answer is pictures or a valid refusal."""
    with httpx.Client(base_url=abused.url, timeout=60) as client:

        def checked(content: bytes, headers: dict[str, bytes] | None = None) -> httpx.Response:
            sent = {"content-type": b"application/json"} | (headers or {})
            raw = [(name.encode(), value) for name, value in sent.items()]
            answer = client.post(PATH, content=content, headers=raw)
            valid_generation(answer.status_code, answer.headers, answer.content)
            return answer

        yield checked


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([-1, 2**31, 2**53, 2**63, 2**64, 10**400])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(
        ["auto", "64x64", "0x0", "64x64\n", "99999x99999", "٦٤x64", "lcm", "\u200b", "\x00", "../../etc"]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
MUTATED = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3).map(lambda fields: VALID | fields)
ENCODINGS = ["utf-16", "utf-16-le", "utf-32", "cp037"]


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


@st.composite
def broken_bytes(draw: st.DrawFn) -> bytes:
    """Return a valid body of which up to ten bytes are replaced by up to ten others."""
    text = as_json(draw(MUTATED))
    start = draw(st.integers(0, len(text)))
    return text[:start] + draw(st.binary(max_size=10)) + text[draw(st.integers(start, start + 10)) :]


@st.composite
def unknown_fields(draw: st.DrawFn) -> bytes:
    """Return a valid body with one field more, whose name is none."""
    return as_json(draw(MUTATED) | {f"{draw(st.text())}?": draw(VALUES)})


@st.composite
def other_encodings(draw: st.DrawFn) -> bytes:
    """Return a valid body in an encoding that is not JSON's."""
    return json.dumps(draw(MUTATED)).encode(draw(st.sampled_from(ENCODINGS)))


def test_a_byte_order_mark_is_no_part_of_a_body(post: Post) -> None:
    assert post(codecs.BOM_UTF8 + as_json(VALID)).status_code == 200
    assert post(codecs.BOM_UTF8 * 2 + as_json(VALID)).status_code == 400


UNREADABLE = {
    "nothing": (b"", "the body is empty; expected a JSON object"),
    "UTF-16 with a mark": (as_json(VALID).decode().encode("utf-16"), "the body is UTF-16, allowed is UTF-8"),
    "UTF-16 without one": (as_json(VALID).decode().encode("utf-16-be"), "the body is UTF-16, allowed is UTF-8"),
    "UTF-32": (as_json(VALID).decode().encode("utf-32"), "the body is UTF-32, allowed is UTF-8"),
    "Latin 1": ('{"prompt": "caf\xe9"}'.encode("latin-1"), "the body is not UTF-8"),
    "no object": (b"[]", "the body: expected object, got array"),
    "a form": (b"prompt=a+red+circle", "the body is not valid JSON: JSON is malformed: invalid character (byte 0)"),
}


@pytest.mark.parametrize(("content", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_named(post: Post, content: bytes, message: str) -> None:
    assert post(content).json()["error"]["message"] == message


CODINGS = {
    "gzip": {"content-encoding": b"gzip"},
    "zstd": {"content-encoding": b"identity, zstd"},
    "a coding that is none": {"content-encoding": b"aes128gcm"},
}


@pytest.mark.parametrize("headers", CODINGS.values(), ids=CODINGS)
def test_a_packed_body_is_refused_by_name(post: Post, headers: dict[str, bytes]) -> None:
    answer = post(gzip.compress(as_json(VALID)), headers)
    found = headers["content-encoding"].decode().rpartition(", ")[2]
    assert answer.status_code == 415
    assert answer.json()["error"]["message"] == f'content-encoding: found "{found}", allowed is identity'
    assert answer.headers["accept-encoding"] == "identity"


def test_a_body_that_says_that_it_is_not_packed_is_read(post: Post) -> None:
    for coding in (b"identity", b"IDENTITY", b""):
        assert post(as_json(VALID), {"content-encoding": coding}).status_code == 200


Bodies = tuple[st.SearchStrategy[bytes], int, set[int]]
"""Bodies, how many of them, and the statuses that they may get."""

BODIES: dict[str, Bodies] = {
    "bytes": (st.binary(max_size=200), 100, {400}),
    "JSON of any kind": (VALUES.map(as_json), 100, {400}),
    "valid bodies with other values": (MUTATED.map(as_json), 150, {200, 400, 404}),
    "valid bodies with another field": (unknown_fields(), 60, {400}),
    "valid bodies with broken bytes": (broken_bytes(), 150, {200, 400, 404}),
    "valid bodies in another encoding": (other_encodings(), 20, {400}),
}


@pytest.mark.acceptance
@pytest.mark.parametrize("name", BODIES)
def test_made_up_bodies_are_served_or_refused(post: Post, show: Show, name: str) -> None:
    bodies, count, statuses = BODIES[name]
    seen: Counter[int] = Counter()

    @given(content=bodies)
    @settings(FUZZ, max_examples=count)
    def is_answered(content: bytes) -> None:
        status = post(content).status_code
        seen[status] += 1
        assert status in statuses

    is_answered()
    show(f"6 hostile input: hypothesis, {name}", told(seen))


ODD_BUT_VALID = {
    "a prompt of zeros": {"prompt": "\x00" * 75},
    "a prompt that nobody sees": {"prompt": "\u200b"},
    "a prompt of emoji": {"prompt": "😀" * 60},
    "a prompt of marks on one letter": {"prompt": "a" + "\u0301" * 100},
    "a prompt with a lot of air around it": {"prompt": f"x{' ' * 900_000}"},
    "a sampler at its limits": {
        "scheduler": "lcm",
        "num_inference_steps": 3,
        "guidance_scale": 0,
        "negative_prompt": None,
    },
    "a size that the UNet cannot halve three times": {"size": "72x104"},
}


@pytest.mark.parametrize("fields", ODD_BUT_VALID.values(), ids=ODD_BUT_VALID.keys())
def test_what_is_odd_but_valid_is_served(post: Post, fields: dict[str, Any]) -> None:
    assert post(as_json(VALID | fields)).status_code == 200


def with_raw(name: str, raw: bytes) -> bytes:
    """Return the valid body with ``raw`` bytes as the value of one field."""
    return as_json(VALID | {name: "@"}).replace(b'"@"', raw)


RAW_VALUES = {
    "NaN": b"NaN",
    "infinity": b"-Infinity",
    "a number beyond every float": b"1e999",
    "a number of a thousand digits": b"9" * 1000,
    "a number with a leading zero": b"01",
    "a comment": b"1 /* one */",
    "arrays, deep": b"[" * 100_000 + b"]" * 100_000,
    "objects, deep": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "arrays without end": b"[" * 100_000,
    "half a surrogate pair": b'"\\ud83d"',
    "a surrogate pair the wrong way round": b'"\\ude00\\ud83d"',
    "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "an overlong slash": b'"\xc0\xaf"',
    "a raw newline in text": b'"a\nb"',
    "a long text": b'"' + b"x" * 900_000 + b'"',
}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("raw", RAW_VALUES.values(), ids=RAW_VALUES.keys())
def test_a_value_that_no_field_has_is_refused(post: Post, name: str, raw: bytes) -> None:
    assert post(with_raw(name, raw)).status_code == 400


@pytest.mark.parametrize("raw", RAW_VALUES.values(), ids=RAW_VALUES.keys())
def test_a_wrong_field_before_unreadable_bytes_is_refused(post: Post, raw: bytes) -> None:
    assert post(b'{"n": "two", "user": ' + raw + b"}").status_code == 400


@pytest.mark.parametrize(("first", "second"), [(b'"two"', b"1"), (b"1", b'"two"')], ids=["wrong first", "wrong second"])
def test_a_name_given_twice_has_no_way_around_the_rules(post: Post, first: bytes, second: bytes) -> None:
    assert post(b'{"prompt": "x", "n": ' + first + b', "n": ' + second + b"}").status_code == 400


HEADER_BYTES = st.binary(max_size=100).map(
    lambda raw: bytes(byte for byte in raw if byte >= 32 and byte != 127).strip()
)
TIMES = [b"nan", b"inf", b"-inf", b"-1", b"0", b"1e-320", b"1e999", b"0x10", b"1_0", b"1,2", b"\xb2", b"9" * 5000, b""]
CONTENT_TYPES = {
    "upper case": (b"APPLICATION/JSON", 200),
    "a parameter": (b"application/json; charset=utf-8", 200),
    "another encoding, which is not looked at": (b"application/json;charset=utf-16", 200),
    "two at once": (b"application/json, text/plain", 415),
    "a form": (b"multipart/form-data; boundary=x", 415),
    "a form without boundary": (b"multipart/form-data", 415),
    "JSON of another kind": (b"application/problem+json", 415),
    "nothing": (b"", 415),
    "no ASCII": (b"\xff\xfe", 415),
    "no end": (b"a/" * 5000, 415),
}


@pytest.mark.parametrize(("value", "status"), CONTENT_TYPES.values(), ids=CONTENT_TYPES.keys())
def test_only_json_is_read(post: Post, value: bytes, status: int) -> None:
    assert post(as_json(VALID), {"content-type": value}).status_code == status


HEADERS: dict[str, tuple[st.SearchStrategy[bytes], set[int]]] = {
    REQUEST_TIMEOUT_HEADER: (st.sampled_from(TIMES) | HEADER_BYTES, {200, 400, 504}),
    REQUEST_ID_HEADER: (HEADER_BYTES | st.sampled_from([b"x" * 129, b"x" * 20_000, b"a b", b"\xff"]), {200}),
    MODEL_HEADER: (HEADER_BYTES, {200}),
    "content-type": (HEADER_BYTES, {200, 415}),
    "host": (HEADER_BYTES, {200, 400}),
    "accept": (HEADER_BYTES, {200}),
    "accept-encoding": (HEADER_BYTES, {200}),
    "authorization": (HEADER_BYTES, {200}),
    "cookie": (HEADER_BYTES, {200}),
}


@pytest.mark.acceptance
@pytest.mark.parametrize("name", HEADERS)
def test_made_up_headers_are_harmless_or_refused(post: Post, show: Show, name: str) -> None:
    values, statuses = HEADERS[name]
    seen: Counter[int] = Counter()

    @given(value=values)
    @settings(FUZZ, max_examples=25)
    def is_answered(value: bytes) -> None:
        answer = post(as_json(VALID), {name: value})
        seen[answer.status_code] += 1
        assert answer.status_code in statuses
        request_id = answer.headers[REQUEST_ID_HEADER]
        assert request_id.startswith("req_") or (name == REQUEST_ID_HEADER and request_id.encode() == value)

    is_answered()
    show(f"6 hostile input: hypothesis, header {name}", told(seen))


def told(seen: Counter[int]) -> str:
    """Return how many answers there were of each status."""
    return f"{seen.total()} requests: " + ", ".join(f"{count} x {status}" for status, count in sorted(seen.items()))


def private_requests(marker: str) -> dict[str, tuple[dict[str, Any] | bytes, dict[str, bytes]]]:
    """Return requests that carry ``marker`` where people write, each answered differently."""
    prompt = {"prompt": marker}
    return {
        "served": (VALID | prompt | {"negative_prompt": marker, "user": marker, "safety_identifier": marker}, {}),
        "wrong value": (prompt | {"n": 0}, {}),
        "wrong type": ({"prompt": [marker]}, {}),
        "prompt as a name": ({marker: 1}, {}),
        "prompt as a model": (prompt | {"model": marker}, {}),
        "prompt as a size": (prompt | {"size": marker}, {}),
        "prompt as a sampler": (prompt | {"scheduler": marker}, {}),
        "too long": ({"prompt": f"{marker} " * 200}, {}),
        "too large": ({"prompt": marker * 100_000}, {}),
        "no JSON": (b'{"prompt": "' + marker.encode(), {}),
        "not UTF-8": (b'{"prompt": "' + marker.encode() + b'\xff"}', {}),
        "half a surrogate": (b'{"prompt": "' + marker.encode() + b'\\ud800"}', {}),
        "out of time": (VALID | prompt, {REQUEST_TIMEOUT_HEADER: b"0.001"}),
        "wrong header": (VALID | prompt, {REQUEST_TIMEOUT_HEADER: marker.encode()}),
        "wrong type of content": (VALID | prompt, {"content-type": marker.encode()}),
        "prompt as a request id that is none": (VALID | prompt, {REQUEST_ID_HEADER: f"{marker} ".encode() * 2 + b"x"}),
    }


@pytest.mark.acceptance
def test_what_people_write_is_never_logged(abused: ServerProcess, post: Post, show: Show) -> None:
    marker = f"zebra{secrets.token_hex(6)}"
    statuses: list[int] = []
    for body, headers in private_requests(marker).values():
        content = body if isinstance(body, bytes) else as_json(body)
        statuses.append(post(content, headers).status_code)
    assert attempts(abused, new_request_id()) == []  # the log has caught up
    assert statuses[0] == 200
    assert set(statuses) == {200, 400, 404, 413, 415, 504}
    for where, text in {
        "log": json.dumps(abused.log),
        "stderr": "".join(abused.stderr),
        "metrics": abused.get("/metrics").text,
        "status": abused.get("/status").text,
    }.items():
        assert marker not in text, where
    show(
        "6 hostile input: prompts are in no log and no metric", f"{len(statuses)} requests, {len(abused.log)} log lines"
    )


@pytest.mark.acceptance
def test_nothing_was_lost_for_others(abused: ServerProcess, post: Post, bystander: Any, show: Show) -> None:
    """Comes last: what the bystander saw of all the above."""
    bystander.wait_for_more()
    for raw in RAW_VALUES.values():
        post(with_raw("guidance_scale", raw))
    bystander.wait_for_more()
    bystander.stop()
    assert bystander.failures == []
    assert len(set(bystander.pictures)) == 1
    assert abused.get("/readyz").status_code == 200
    assert [line for line in abused.log if line["level"] in {"ERROR", "CRITICAL"}] == []
    assert abused.stderr == []
    bad = [line for line in abused.log if line.get("status", 0) >= 400]
    assert not [line for line in bad if line.get("code") == ErrorCode.INTERNAL_ERROR or line["status"] == 500]
    show(
        "6 hostile input: never a 500, nothing lost for others",
        f"{len(bad)} refusals, {len(bystander.pictures)} pictures of somebody else, all the same",
    )
