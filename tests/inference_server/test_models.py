"""The models of a server: loaded on demand, leased, swapped within the budget, unloaded; and why one cannot serve."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest

from fake_models import FakeLoader, FakeSource, spec, store
from imagegen_contract.errors import ErrorCode
from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.load_failures import TRANSIENT, LoadFailure
from imagegen_contract.server_status import ModelStatus
from imagegen_server.errors import LoadError
from imagegen_server.models import ModelStore, StoreLimits
from imagegen_server.slots import LoadedModel
from imagegen_web.errors import ApiError, ModelNotFound, ModelNotReady

PATIENCE = 20.0
"""Far more than anything here takes: only a test that hangs gets there."""

ONE, TWO, THREE = spec("acme/one", aliases=["uno"]), spec("acme/two"), spec("acme/three")


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(PATIENCE):
            await scenario

    asyncio.run(limited())


def status(models: ModelStore, which: ImageModelSpec = ONE) -> ModelStatus:
    return next(status for status in models.statuses() if status.id == which.id)


async def until(models: ModelStore, state: str, which: ImageModelSpec = ONE, stage: str = "") -> ModelStatus:
    while (found := status(models, which)).state != state or stage not in found.stage:
        await models.changes.wait()
    return found


async def lease(models: ModelStore, which: ImageModelSpec = ONE, patience: float = PATIENCE) -> LoadedModel:
    async with models.lease(which, patience) as model:
        return model


async def refusal(models: ModelStore, which: ImageModelSpec = ONE, patience: float = 0) -> ApiError:
    with pytest.raises(ApiError) as refused:
        await lease(models, which, patience)
    return refused.value


async def hold(models: ModelStore, which: ImageModelSpec) -> contextlib.AsyncExitStack:
    """Lease a model until the result is closed."""
    stack = contextlib.AsyncExitStack()
    await stack.enter_async_context(models.lease(which, PATIENCE))
    return stack


# Loading ------------------------------------------------------------------------------------------------------------


def test_the_first_request_that_names_a_model_has_it_loaded_and_waits_for_it() -> None:
    async def scenario() -> None:
        loader = FakeLoader()
        models = store(loader, ONE, TWO)
        assert [found.state for found in models.statuses()] == ["unloaded", "unloaded"]
        await lease(models)
        assert (loader.loaded, status(models).state, status(models, TWO).state) == (["one-40"], "ready", "unloaded")

    run(scenario())


def test_a_model_tells_its_stages_and_its_progress() -> None:
    async def scenario() -> None:
        loader, source = FakeLoader(), FakeSource()
        source.gate.clear()
        loader.gate.clear()
        models = store(loader, ONE, source=source)
        assert not models.load("acme/one")
        await until(models, "loading", stage="fetching weights")
        while status(models).progress is None:  # noqa: ASYNC110 - a fetching thread writes it
            await asyncio.sleep(0)
        refused = await refusal(models)
        assert (refused.code, refused.retry_after) == (ErrorCode.MODEL_LOADING, 5.0)
        assert "is being loaded (fetching weights, 50 %)" in refused.message
        source.gate.set()
        await until(models, "loading", stage="reading weights")
        await loader.started.wait()
        read = status(models).progress
        assert read is not None
        assert (read.bytes_done, read.bytes_total, read.percent) == (20, 40, 50.0)
        assert "is being loaded (reading weights, 50 %)" in (await refusal(models)).message
        loader.gate.set()
        ready = await until(models, "ready")
        assert (ready.stage, ready.device, ready.dtype, ready.memory_bytes) == ("", "cpu", "float32", 40)
        assert models.load("acme/one")

    run(scenario())


def test_many_who_want_a_model_have_it_loaded_once() -> None:
    async def scenario() -> None:
        loader, source = FakeLoader(), FakeSource()
        models = store(loader, ONE, source=source)
        await asyncio.gather(*(lease(models) for _ in range(20)))
        assert (loader.loaded, len(source.wanted), models.held) == (["one-40"], 1, 0)

    run(scenario())


def test_a_source_is_told_what_the_entry_says() -> None:
    async def scenario() -> None:
        source = FakeSource()
        entry = spec("acme/one", revision="abc", config="hf://acme/config", inference={"safetyChecker": False})
        models = store(FakeLoader(), entry, source=source)
        await lease(models, entry)
        (wanted,) = source.wanted
        assert (wanted.reference, wanted.revision, wanted.config) == ("one-40", "abc", "hf://acme/config")
        assert (wanted.half, wanted.safety_checker) == (True, False)
        assert status(models).revision == "abc"

    run(scenario())


def test_who_waits_too_long_is_told_when_to_come_back_and_the_load_goes_on() -> None:
    async def scenario() -> None:
        loader = FakeLoader()
        loader.gate.clear()
        models = store(loader, ONE)
        refused = await refusal(models, patience=0.01)
        assert isinstance(refused, ModelNotReady)
        assert refused.code == ErrorCode.MODEL_LOADING
        assert refused.retry_after is not None
        loader.gate.set()
        await until(models, "ready")

    run(scenario())


def test_one_model_is_loaded_while_another_serves() -> None:
    async def scenario() -> None:
        loader = FakeLoader()
        models = store(loader, ONE, TWO)
        await lease(models, ONE)
        loader.gate.clear()
        models.load("acme/two")
        await loader.started.wait()
        for _ in range(10):
            await lease(models, ONE, patience=0)
        assert status(models, TWO).state == "loading"
        loader.gate.set()
        await until(models, "ready", TWO)

    run(scenario())


def test_models_are_fetched_side_by_side_and_loaded_one_after_another() -> None:
    async def scenario() -> None:
        loader, source = FakeLoader(budget=200), FakeSource()
        source.gate.clear()
        models = store(loader, ONE, TWO, THREE, source=source)
        waiting = asyncio.gather(*(lease(models, which) for which in (ONE, TWO, THREE)))
        while len(source.wanted) < 3:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0)
        source.gate.set()
        await waiting  # the loader itself fails when two come at once
        assert sorted(loader.loaded) == ["one-40", "three-40", "two-40"]

    run(scenario())


def test_only_so_many_requests_wait_for_models() -> None:
    async def scenario() -> None:
        loader = FakeLoader()
        loader.gate.clear()
        models = store(loader, ONE, limits=StoreLimits(waiting_requests=3))
        waiting = [asyncio.ensure_future(lease(models)) for _ in range(3)]
        await loader.started.wait()
        refused = await refusal(models, patience=PATIENCE)
        assert (refused.code, models.held) == (ErrorCode.QUEUE_FULL, 3)
        assert refused.retry_after is not None
        waiting[0].cancel()
        await asyncio.wait([waiting[0]])
        assert models.held == 2
        loader.gate.set()
        await asyncio.gather(*waiting[1:])

    run(scenario())


def test_where_nobody_may_wait_a_request_still_has_its_model_loaded() -> None:
    async def scenario() -> None:
        models = store(FakeLoader(), ONE, limits=StoreLimits(waiting_requests=0))
        assert (await refusal(models, patience=PATIENCE)).code == ErrorCode.QUEUE_FULL
        await until(models, "ready")
        await lease(models, patience=0)

    run(scenario())


# Swapping -----------------------------------------------------------------------------------------------------------


def test_the_idle_model_used_longest_ago_makes_room() -> None:
    async def scenario() -> None:
        loader = FakeLoader(budget=100)
        models = store(loader, ONE, TWO, THREE)
        for which in (ONE, TWO, ONE, THREE):
            await lease(models, which)
        states = {found.id: found.state for found in models.statuses()}
        assert states == {"acme/one": "ready", "acme/two": "unloaded", "acme/three": "ready"}
        assert (models.memory.used_bytes, models.memory.budget_bytes) == (80, 100)
        assert (models.counters.loads, models.unloads) == (3, 1)

    run(scenario())


def test_a_model_in_use_is_never_unloaded_however_long_another_waits() -> None:
    async def scenario() -> None:
        loader = FakeLoader(budget=40)
        models = store(loader, ONE, TWO)
        held = await hold(models, ONE)
        models.load("acme/two")
        await until(models, "loading", TWO, stage="waiting for memory")
        # Its turn over, the model in use takes no new requests, and leaves when the last one is done.
        await until(models, "ready", ONE, stage="makes room for acme/two")
        refused = await refusal(models, ONE)
        assert refused.code == ErrorCode.MODEL_LOADING
        assert "makes room for acme/two" in refused.message
        assert loader.loaded == ["one-40"]
        waiting = asyncio.ensure_future(lease(models, TWO))
        await held.aclose()
        await waiting
        assert loader.loaded == ["one-40", "two-40"]

    run(scenario())


@pytest.mark.slow
def test_two_busy_models_that_share_one_place_take_turns_and_everyone_is_served() -> None:
    async def scenario() -> None:
        loader = FakeLoader(budget=40)
        models = store(loader, ONE, TWO)

        async def client(which: ImageModelSpec) -> None:
            for _ in range(3):
                async with models.lease(which, PATIENCE):
                    await asyncio.sleep(0.001)

        await asyncio.gather(*(client(which) for which in (ONE, TWO) * 4))
        assert models.memory.used_bytes == 40

    run(scenario())


def test_a_model_that_alone_exceeds_the_budget_is_refused_and_nobody_leaves_for_it() -> None:
    async def scenario() -> None:
        big = spec("acme/big", source="fake://big-999")
        models = store(FakeLoader(budget=100), ONE, big)
        await lease(models, ONE)
        refused = await refusal(models, big, patience=PATIENCE)
        assert (refused.code, status(models, big).reason) == (
            ErrorCode.MODEL_FAILED,
            LoadFailure.EXCEEDS_MEMORY_BUDGET,
        )
        assert "memory_budget_mib" in refused.message
        assert status(models, ONE).state == "ready"

    run(scenario())


def test_a_model_closed_for_one_that_nobody_wants_any_more_is_opened_again() -> None:
    async def scenario() -> None:
        models = store(FakeLoader(budget=40), ONE, TWO)
        held = await hold(models, ONE)
        models.load("acme/two")
        await until(models, "ready", ONE, stage="makes room for acme/two")
        assert (await refusal(models, ONE)).code == ErrorCode.MODEL_LOADING
        await models.unload("acme/two")
        assert status(models, ONE).stage == ""
        await lease(models, ONE, patience=0)
        await held.aclose()
        # Nor does the refused request bring it back after it has left.
        await models.unload("acme/one")
        await asyncio.sleep(0)
        assert status(models, ONE).state == "unloaded"

    run(scenario())


# Unloading ----------------------------------------------------------------------------------------------------------


def test_unload_waits_for_running_work_and_gives_the_memory_back() -> None:
    async def scenario() -> None:
        loader = FakeLoader()
        models = store(loader, ONE)
        held = await hold(models, ONE)
        unloading = asyncio.ensure_future(models.unload("acme/one"))
        await until(models, "ready", stage="is being unloaded")
        assert models.memory.used_bytes == 40
        before = loader.given_back
        await held.aclose()
        await unloading
        assert (status(models).state, models.memory.used_bytes) == ("unloaded", 0)
        assert loader.given_back > before

    run(scenario())


def test_unload_gives_up_a_download() -> None:
    async def scenario() -> None:
        source = FakeSource()
        source.gate.clear()
        models = store(FakeLoader(), ONE, source=source)
        models.load("acme/one")
        await until(models, "loading", stage="fetching weights")
        await models.unload("acme/one")
        assert status(models) == ModelStatus(id="acme/one", state="unloaded")
        source.gate.set()
        await lease(models)

    run(scenario())


def test_unload_of_a_model_that_is_being_read_waits_for_its_memory() -> None:
    async def scenario() -> None:
        loader = FakeLoader()
        loader.gate.clear()
        models = store(loader, ONE)
        models.load("acme/one")
        await loader.started.wait()
        unloading = asyncio.ensure_future(models.unload("acme/one"))
        await asyncio.sleep(0.01)
        assert not unloading.done()
        loader.gate.set()
        await unloading
        assert (status(models).state, loader.loading) == ("unloaded", 0)

    run(scenario())


def test_unload_of_what_is_not_loaded_changes_nothing() -> None:
    async def scenario() -> None:
        models = store(FakeLoader(), ONE)
        await models.unload("acme/one")
        assert status(models) == ModelStatus(id="acme/one", state="unloaded")

    run(scenario())


def test_whoever_wants_a_model_that_is_leaving_gets_it_when_it_is_back() -> None:
    async def scenario() -> None:
        loader = FakeLoader()
        models = store(loader, ONE)
        held = await hold(models, ONE)
        unloading = asyncio.ensure_future(models.unload("acme/one"))
        await until(models, "ready", stage="is being unloaded")
        waiting = asyncio.ensure_future(lease(models))
        await asyncio.sleep(0)
        await held.aclose()
        await asyncio.gather(unloading, waiting)
        assert loader.loaded == ["one-40", "one-40"]

    run(scenario())


# Failures -----------------------------------------------------------------------------------------------------------

NO_NETWORK = LoadError("the Hub cannot be reached", LoadFailure.HUB_UNREACHABLE)
FAILURES: dict[str, tuple[Exception, LoadFailure, str]] = {
    "words for people stay as they are": (
        LoadError("the weights are torn", LoadFailure.WEIGHTS_INVALID),
        LoadFailure.WEIGHTS_INVALID,
        "the weights are torn",
    ),
    "an error that nobody foresaw is named": (
        ValueError("bad header"),
        LoadFailure.INTERNAL_ERROR,
        "ValueError: bad header",
    ),
    "so is an operating system error": (
        PermissionError(13, "denied"),
        LoadFailure.INTERNAL_ERROR,
        "PermissionError: [Errno 13] denied",
    ),
}


@pytest.mark.parametrize(("error", "reason", "cause"), FAILURES.values(), ids=FAILURES)
def test_a_model_that_fails_to_load_says_why_until_it_is_loaded_again(
    error: Exception, reason: LoadFailure, cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        models = store(FakeLoader(error), ONE)
        refused = await refusal(models, patience=PATIENCE)
        assert (refused.code, refused.message) == (
            ErrorCode.MODEL_FAILED,
            f"model acme/one failed to load: {cause}",
        )
        assert status(models) == ModelStatus(id="acme/one", state="failed", reason=reason, error=cause)
        assert (await refusal(models)).code == ErrorCode.MODEL_FAILED
        assert models.counters.failures == 1
        assert not models.load("acme/one")
        assert (await until(models, "ready")).error == ""

    with caplog.at_level(logging.ERROR):
        run(scenario())
    failed = next(vars(record) for record in caplog.records if record.message == "model failed to load")
    assert (failed["model"], failed["reason"], failed["cause"]) == ("acme/one", reason, cause)
    # The traceback is for what nobody foresaw.
    assert any(record.exc_info for record in caplog.records) == (reason is LoadFailure.INTERNAL_ERROR)


def test_a_failure_that_may_pass_is_tried_again_and_its_cause_is_shown_meanwhile() -> None:
    async def scenario() -> None:
        models = store(FakeLoader(NO_NETWORK), ONE, limits=StoreLimits(first_pause=0.1))
        refused = await refusal(models, patience=PATIENCE)
        assert refused.code == ErrorCode.MODEL_LOADING
        assert "the Hub cannot be reached; the next try is in" in refused.message
        assert refused.retry_after is not None
        assert 0 < refused.retry_after <= 1
        found = status(models)
        assert (found.state, found.reason, found.error) == ("loading", LoadFailure.HUB_UNREACHABLE, str(NO_NETWORK))
        ready = await until(models, "ready")
        assert (ready.reason, ready.error) == (None, "")

    run(scenario())


def test_a_load_by_hand_does_not_wait_for_the_next_try() -> None:
    async def scenario() -> None:
        models = store(FakeLoader(), ONE, source=FakeSource(*[NO_NETWORK] * 4))
        models.load("acme/one")
        for _ in range(4):
            await until(models, "loading", stage="next try")
            models.load("acme/one")
        await until(models, "ready")

    started = time.monotonic()
    run(scenario())
    assert time.monotonic() - started < 2, "the pauses alone are 14 s"


def test_a_load_that_takes_too_long_is_given_up_and_tried_again() -> None:
    async def scenario() -> None:
        source = FakeSource()
        source.gate.clear()
        models = store(FakeLoader(), ONE, source=source, limits=StoreLimits(load_timeout=0.05, first_pause=0.1))
        models.load("acme/one")
        found = await until(models, "loading", stage="next try")
        assert found.reason is LoadFailure.LOAD_TIMEOUT
        assert found.error == "loading took longer than 0.05 s (fetching weights)"
        source.gate.set()
        await until(models, "ready")

    run(scenario())


def test_a_pod_looks_again_whether_terms_were_accepted_meanwhile() -> None:
    async def scenario() -> None:
        source = FakeSource(LoadError("accept the terms", LoadFailure.ACCESS_DENIED))
        source.gate.clear()
        models = store(FakeLoader(), ONE, source=source, limits=StoreLimits(look_again=0.05))
        models.load("acme/one")
        source.gate.set()
        assert (await until(models, "failed")).error == "accept the terms"
        await until(models, "ready")

    run(scenario())


def test_a_load_by_hand_does_not_wait_for_the_next_look() -> None:
    async def scenario() -> None:
        source = FakeSource(LoadError("accept the terms", LoadFailure.ACCESS_DENIED))
        models = store(FakeLoader(), ONE, source=source, limits=StoreLimits(look_again=3600.0))
        models.load("acme/one")
        await until(models, "failed")
        models.load("acme/one")
        await until(models, "ready")

    run(scenario())


def test_every_reason_is_either_worth_another_try_or_somebody_s_task() -> None:
    permanent = set(LoadFailure) - TRANSIENT
    assert {LoadFailure.ACCESS_DENIED, LoadFailure.UNSAFE_WEIGHTS, LoadFailure.EXCEEDS_MEMORY_BUDGET} < permanent
    assert {LoadFailure.HUB_UNREACHABLE, LoadFailure.DISK_FULL, LoadFailure.CHECKSUM_MISMATCH} < TRANSIENT


def test_a_source_that_this_server_lacks_is_named_with_those_it_has() -> None:
    async def scenario() -> None:
        far = spec("acme/far", source="pvc://claim/path")
        models = store(FakeLoader(), far)
        refused = await refusal(models, far, patience=PATIENCE)
        words = "source pvc://claim/path: this server cannot load from pvc://; it can from fake://"
        assert refused.message == f"model acme/far failed to load: {words}"
        assert status(models, far).reason is LoadFailure.SOURCE_UNSUPPORTED

    run(scenario())


def test_a_server_that_drains_refuses_those_who_would_have_to_wait() -> None:
    async def scenario() -> None:
        loader = FakeLoader()
        models = store(loader, ONE, TWO)
        await lease(models, ONE)
        loader.gate.clear()
        waiting = asyncio.ensure_future(refusal(models, TWO, patience=PATIENCE))
        loader.started.clear()
        await loader.started.wait()
        models.drain()
        assert (await waiting).code == ErrorCode.DRAINING
        await lease(models, ONE, patience=0)
        models.stop()

    run(scenario())


# The catalog --------------------------------------------------------------------------------------------------------


def test_a_model_that_is_added_can_be_used_at_once() -> None:
    async def scenario() -> None:
        models = store(FakeLoader(), ONE)
        models.update([ONE, TWO])
        await lease(models, models.find("two"))
        assert [found.id for found in models.statuses()] == ["acme/one", "acme/two"]

    run(scenario())


def test_a_model_that_leaves_the_catalog_serves_what_began_and_goes() -> None:
    async def scenario() -> None:
        models = store(FakeLoader(), ONE, TWO)
        held = await hold(models, ONE)
        models.update([TWO])
        with pytest.raises(ModelNotFound):
            models.find("acme/one")
        assert models.memory.used_bytes == 40
        await held.aclose()
        while models.memory.used_bytes:
            await models.changes.wait()

    run(scenario())


def test_who_waits_for_a_model_that_leaves_the_catalog_is_told() -> None:
    async def scenario() -> None:
        source = FakeSource()
        source.gate.clear()
        models = store(FakeLoader(), ONE, TWO, source=source)
        waiting = asyncio.ensure_future(refusal(models, ONE, patience=PATIENCE))
        await until(models, "loading", stage="fetching")
        models.update([TWO])
        refused = await waiting
        assert refused.code == ErrorCode.MODEL_NOT_FOUND
        assert "left the catalog" in refused.message

    run(scenario())


def test_an_edit_that_leaves_the_weights_alone_keeps_the_model_loaded() -> None:
    async def scenario() -> None:
        loader = FakeLoader()
        models = store(loader, ONE)
        before = await lease(models)
        edited = msgspec.structs.replace(ONE, aliases=("eins",), description="the first")
        models.update([edited])
        assert await lease(models, models.find("eins")) is before
        assert loader.loaded == ["one-40"]

    run(scenario())


@pytest.mark.parametrize("change", [{"source": "fake://other-40"}, {"revision": "v2"}, {"config": "hf://acme/other"}])
def test_an_edit_of_the_weights_loads_them_anew_and_running_requests_keep_the_old(change: dict[str, str]) -> None:
    async def scenario() -> None:
        loader = FakeLoader()
        models = store(loader, ONE)
        held = await hold(models, ONE)
        before = models.loaded("acme/one")
        models.update([msgspec.structs.replace(ONE, **change)])
        await until(models, "ready")
        assert (len(loader.loaded), models.memory.used_bytes) == (2, 80)
        assert models.loaded("acme/one") is not before
        await held.aclose()
        while models.memory.used_bytes > 40:
            await models.changes.wait()

    run(scenario())


def test_an_edit_of_a_model_that_failed_gives_it_another_try() -> None:
    async def scenario() -> None:
        models = store(FakeLoader(LoadError("torn", LoadFailure.WEIGHTS_INVALID)), ONE)
        await refusal(models, patience=PATIENCE)
        models.update([msgspec.structs.replace(ONE, description="mended")])
        await lease(models, models.find("acme/one"))

    run(scenario())


def test_the_same_catalog_again_changes_nothing() -> None:
    async def scenario() -> None:
        loader = FakeLoader()
        models = store(loader, ONE, TWO)
        before = await lease(models)
        models.update([ONE, TWO])
        assert models.loaded("acme/one") is before
        assert loader.given_back == 0

    run(scenario())


# Names --------------------------------------------------------------------------------------------------------------

FOUND = {
    "by its id": "acme/one",
    "by an alias": "uno",
    "by the last segment of its id": "one",
    "whatever the case, when only one matches": "ACME/One",
}


@pytest.mark.parametrize("name", FOUND.values(), ids=FOUND)
def test_a_model_is_found(name: str) -> None:
    assert store(FakeLoader(), ONE, TWO).find(name) is ONE


MISSED = {
    "a near name is proposed": ("acme/on", "did you mean: acme/one"),
    "without a near name all are listed": ("zzzzzz", "models here: acme/one, acme/two"),
    "a name of any length is shown in part": ("z" * 5000, f"'{'z' * 128}'"),
}


@pytest.mark.parametrize(("name", "words"), MISSED.values(), ids=MISSED)
def test_a_model_that_is_not_found(name: str, words: str) -> None:
    with pytest.raises(ModelNotFound) as missed:
        store(FakeLoader(), ONE, TWO).find(name)
    assert words in missed.value.message
    assert len(missed.value.message) < 400
    assert missed.value.code == ErrorCode.MODEL_NOT_FOUND


# Telling ------------------------------------------------------------------------------------------------------------


def test_a_load_under_way_says_in_the_log_what_it_does_and_how_far_it_is(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    def told(stage: str) -> list[Any]:
        return [record for record in caplog.records if record.__dict__.get("stage") == stage]

    async def scenario() -> None:
        loader, source = FakeLoader(), FakeSource()
        source.gate.clear()
        loader.gate.clear()
        models = store(loader, ONE, source=source, limits=StoreLimits(log_seconds=0.01))
        models.load("acme/one")
        while not told("fetching weights"):  # noqa: ASYNC110 - a timer writes it
            await asyncio.sleep(0)
        source.gate.set()
        while not told("reading weights"):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        loader.gate.set()
        await until(models, "ready")

    run(scenario())
    last = told("reading weights")[-1].__dict__
    assert (last["model"], last["bytes_done"], last["bytes_total"], last["percent"]) == ("acme/one", 20, 40, 50.0)


def test_a_model_that_finds_room_at_once_never_says_that_it_waits_for_memory() -> None:
    async def scenario() -> None:
        models = store(FakeLoader(), ONE)
        models.load("acme/one")
        stages: list[str] = []
        while (found := status(models)).state != "ready":
            stages.append(found.stage)
            await models.changes.wait()
        assert set(stages) <= {"", "waiting for its turn", "fetching weights", "weighing", "reading weights"}

    run(scenario())
