"""Error codes: what each fixes, and how an error body reads."""

import msgspec
import pytest

from imagegen_contract.errors import KINDS, MAX_RETRY_AFTER_SECONDS, ErrorBody, ErrorCode, error_body

OPENAI_RETRIES = {408, 409, 429, *range(500, 600)}


def test_every_code_has_its_kind() -> None:
    assert set(KINDS) == set(ErrorCode)


def test_codes_are_spelt_like_identifiers() -> None:
    assert all(code.value == code.name.lower() for code in ErrorCode)


@pytest.mark.parametrize("code", ErrorCode)
def test_a_fault_of_the_client_is_a_4xx_and_one_of_the_server_a_5xx(code: ErrorCode) -> None:
    kind = KINDS[code]
    assert (kind.type == "server_error") == (kind.status >= 500)
    assert 400 <= kind.status < 600


def test_no_code_has_the_status_that_the_sdk_retries_as_a_conflict() -> None:
    assert 409 not in {kind.status for kind in KINDS.values()}


@pytest.mark.parametrize("code", ErrorCode)
def test_the_sdk_is_told_what_to_do_only_against_its_own_rule(code: ErrorCode) -> None:
    kind = KINDS[code]
    assert kind.retry is None or kind.retry != (kind.status in OPENAI_RETRIES)


def test_waiting_is_asked_for_only_as_long_as_the_sdk_waits() -> None:
    assert MAX_RETRY_AFTER_SECONDS == 120


@pytest.mark.parametrize("code", ErrorCode)
def test_a_body_has_openais_four_keys_on_the_wire(code: ErrorCode) -> None:
    body = msgspec.json.encode(error_body(code, "what is wrong", "n"))
    assert msgspec.json.decode(body) == {
        "error": {"message": "what is wrong", "type": KINDS[code].type, "param": "n", "code": code.value}
    }
    assert msgspec.json.decode(body, type=ErrorBody) == error_body(code, "what is wrong", "n")


def test_a_body_without_a_field_at_fault_says_null() -> None:
    assert msgspec.to_builtins(error_body(ErrorCode.QUEUE_FULL, "x"))["error"]["param"] is None
