"""A status explains. The cases are in status_cases.py."""

import re

import msgspec
import pytest

from imagegen_contract.conditions import Condition, ConditionType, ImageModelStatus, Reason
from imagegen_contract.explanations import EXPLANATIONS, MEANINGS, REASONS
from imagegen_contract.load_failures import TRANSIENT, LoadFailure
from imagegen_contract.server_status import ModelStatus
from imagegen_operator.readiness import status
from model_scenes import APPLIED, deployment, model, observed, pod, restarted, server
from status_cases import CASES, DEGRADED, DONE, THREE_READY, Case, fails

NOW = "2026-01-01T12:30:00Z"
IMAGE = "registry.example/imagegen-server:1.0.0"


def judged(case: Case) -> dict[ConditionType, Condition]:
    after = status(case.observed, case.outcome, IMAGE, NOW)
    return dict(zip(map(ConditionType, (each.type for each in after.conditions)), after.conditions, strict=True))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_status_explains(case: Case) -> None:
    conditions = judged(case)
    assert list(conditions) == list(ConditionType)
    for kind, (status_word, reason, words) in case.expected.items():
        found = conditions[kind]
        assert (kind, found.status, found.reason) == (kind, status_word, reason), found.message
        assert words in found.message


def test_the_cases_give_every_documented_reason_and_no_other() -> None:
    given = {(kind, each.status, each.reason) for case in CASES.values() for kind, each in judged(case).items()}
    documented = {
        (kind, status_word, reason)
        for kind, by_status in REASONS.items()
        for status_word, reasons in by_status.items()
        for reason in reasons
    }
    assert given == documented
    assert {reason for _, _, reason in documented} == set(Reason)


@pytest.mark.parametrize("reason", LoadFailure)
def test_every_failure_of_a_load_is_a_trouble_in_the_servers_words(reason: LoadFailure) -> None:
    found = judged(Case(fails(reason, "the server's words"), {}))[DEGRADED]
    assert found.status == "True"
    assert f"{reason}: the server's words." in found.message
    assert ("tries again by itself" in found.message) is (reason in TRANSIENT)


def test_each_reason_and_each_condition_is_explained_in_sentences() -> None:
    assert set(EXPLANATIONS) == set(Reason)
    assert set(MEANINGS) == set(REASONS) == set(ConditionType)
    texts = [text for each in EXPLANATIONS.values() for text in (each.cause, each.remedy)]
    assert [text for text in (*texts, *MEANINGS.values()) if not re.fullmatch(r"[A-Z`].*\.", text)] == []


HOSTILE_LOG = "a \x1b[31mred\x1b[0m token hf_AbCdEfGhIjKlMnOpQrStUvWxYz0123 " + "x" * 5000


def test_a_log_line_is_cut_escaped_and_shows_no_token() -> None:
    message = judged(Case(observed(restarted(2, log=HOSTILE_LOG)), {}))[DEGRADED].message
    assert r"a \x1b[31mred\x1b[0m token hf_*** xxx" in message
    assert len(message) < 450
    assert message.endswith("…")


def test_words_of_a_server_show_no_token() -> None:
    after = status(fails(LoadFailure.ACCESS_DENIED, HOSTILE_LOG), APPLIED, IMAGE, NOW)
    assert "hf_AbCd" not in str(after)
    assert all(each.message.isprintable() for each in after.conditions)


def test_counts_and_names_come_from_what_is_there() -> None:
    after = status(observed(*THREE_READY, replicas=3, rollout=deployment(3, updated=2, ready=1)), APPLIED, IMAGE, NOW)
    counts = (after.replicas, after.updated_replicas, after.ready_replicas, after.available_replicas)
    assert counts == (3, 2, 1, 1)
    assert after.selector == "imagegen.dev/model=m"
    assert after.server_image == IMAGE


def test_the_observed_generation_is_the_models() -> None:
    seen = msgspec.structs.replace(observed(pod("ready"), rollout=DONE), model=model(generation=7))
    after = status(seen, APPLIED, IMAGE, NOW)
    assert after.observed_generation == 7
    assert {each.observed_generation for each in after.conditions} == {7}


LOADED = {"state": "ready", "revision": "abc", "device": "cuda:0", "load_seconds": 12.5}


def test_what_was_loaded_is_told_by_the_youngest_ready_pod() -> None:
    seen = observed(
        pod("ready", "m-1", created="12:05"),
        pod("ready", "m-2", created="12:01"),
        pod("running, not ready", "m-3", created="12:09"),
        replicas=3,
        servers={
            "m-1": server("ready", **LOADED),
            "m-2": server("ready", **{**LOADED, "revision": "old"}),
            "m-3": server(revision="not there yet"),
        },
    )
    after = status(seen, APPLIED, IMAGE, NOW)
    assert (after.revision, after.device, after.load_seconds) == ("abc", "cuda:0", 12.5)


def test_other_models_of_the_server_do_not_speak_for_this_one() -> None:
    report = server("ready", **LOADED)
    other = ModelStatus(id="acme/other", state="failed", reason=LoadFailure.ACCESS_DENIED)
    both = msgspec.structs.replace(report, models=(other, *report.models))
    after = status(observed(pod("ready"), rollout=DONE, servers={"m-1": both}), APPLIED, IMAGE, NOW)
    assert after.revision == "abc"


def test_what_was_loaded_stays_known_when_nobody_says_it_any_more() -> None:
    before = ImageModelStatus(revision="abc", device="cuda:0", load_seconds=12.5)
    seen = msgspec.structs.replace(observed(pod("ready"), rollout=DONE), model=model(status=before))
    after = status(seen, APPLIED, IMAGE, NOW)
    assert (after.revision, after.device, after.load_seconds) == ("abc", "cuda:0", 12.5)
