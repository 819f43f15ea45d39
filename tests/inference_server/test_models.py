"""The models of a server: their states, their leases, and why one cannot serve, in words."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from fake_pipelines import CountingPipeline, FakeFolder
from imagegen_contract.errors import ErrorCode
from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.image_size import ImageSize
from imagegen_server.errors import ModelNotFound, ModelNotReady
from imagegen_server.generation import ModelFacts
from imagegen_server.models import LoadedModel, ModelStore

FACTS = ModelFacts(
    native_size=ImageSize(128, 128), own_scheduler=None, device="cpu", dtype="float32", prompt_tokens=300
)


class FakeLoader:
    """Loads CountingPipelines; fails in one way if given one, waits at ``gate`` if given one."""

    def __init__(self, error: BaseException | None = None, gate: asyncio.Event | None = None) -> None:
        self.folders: list[Path] = []
        self.called = asyncio.Event()
        self.error = error
        self._gate = gate

    async def load(self, folder: Path, spec: ImageModelSpec) -> LoadedModel:
        """Pretend to load."""
        self.folders.append(folder)
        self.called.set()
        if self._gate is not None:
            await self._gate.wait()
        if self.error is not None:
            raise self.error
        return LoadedModel(spec=spec, facts=FACTS, pipeline=CountingPipeline())


def spec(model_id: str, source: str = "fake://one", aliases: Sequence[str] = ()) -> ImageModelSpec:
    entry = {"publisher": "acme", "family": "sd", "version": "1", "id": model_id, "aliases": aliases}
    return msgspec.structs.replace(msgspec.convert(entry, ImageModelSpec), source=source)


ONE, TWO = spec("acme/one", aliases=["uno"]), spec("acme/two", source="fake://two")


def store(loader: FakeLoader, *specs: ImageModelSpec) -> ModelStore:
    return ModelStore(specs or (ONE, TWO), {"fake": FakeFolder()}, loader)


async def lease(models: ModelStore, which: ImageModelSpec) -> LoadedModel:
    async with models.lease(which) as model:
        return model


async def refusal(models: ModelStore, which: ImageModelSpec) -> ModelNotReady:
    with pytest.raises(ModelNotReady) as refused:
        await lease(models, which)
    return refused.value


def test_a_model_goes_from_unloaded_through_loading_to_ready() -> None:
    async def scenario() -> None:
        gate = asyncio.Event()
        loader = FakeLoader(gate=gate)
        models = store(loader)
        assert [status.state for status in models.statuses()] == ["unloaded", "unloaded"]
        loading = asyncio.ensure_future(models.load("acme/one"))
        await loader.called.wait()
        status = models.statuses()[0]
        assert (status.state, status.stage, status.device) == ("loading", "loading weights", "")
        gate.set()
        assert await loading
        status = models.statuses()[0]
        assert (status.state, status.stage, status.device, status.dtype) == ("ready", "", "cpu", "float32")
        assert status.load_seconds >= 0
        assert models.statuses()[1].state == "unloaded"
        assert loader.folders == [Path("/weights/one")]

    asyncio.run(scenario())


def test_a_lease_gives_the_loaded_model() -> None:
    async def scenario() -> None:
        models = store(FakeLoader())
        await models.load("acme/two")
        model = await lease(models, TWO)
        assert (model.spec, model) == (TWO, models.loaded("acme/two"))

    asyncio.run(scenario())


def test_a_model_that_is_not_loaded_here_says_how_to_load_it() -> None:
    refused = asyncio.run(refusal(store(FakeLoader()), ONE))
    assert refused.code == ErrorCode.MODEL_UNAVAILABLE
    assert "not loaded here" in refused.message
    assert "--load acme/one" in refused.message
    assert refused.retry_after is None


def test_a_model_that_loads_says_so_and_when_to_come_back() -> None:
    async def scenario() -> None:
        gate = asyncio.Event()
        models = store(FakeLoader(gate=gate))
        loading = asyncio.ensure_future(models.load("acme/one"))
        await asyncio.sleep(0)
        refused = await refusal(models, ONE)
        assert refused.code == ErrorCode.MODEL_LOADING
        assert "is being loaded (fetching weights)" in refused.message
        assert refused.retry_after is not None
        assert 0 < refused.retry_after <= 120
        gate.set()
        await loading

    asyncio.run(scenario())


def test_a_model_whose_turn_to_load_has_not_come_is_worth_waiting_for() -> None:
    models = store(FakeLoader())
    models.announce(["acme/two"])
    refused = asyncio.run(refusal(models, TWO))
    assert refused.code == ErrorCode.MODEL_LOADING
    assert "waiting for its turn" in refused.message
    assert refused.retry_after is not None


FAILURES: dict[str, tuple[BaseException, str]] = {
    "words for people stay as they are": (RuntimeError("the weights are torn"), "the weights are torn"),
    "an error that nobody foresaw is named": (ValueError("bad header"), "ValueError: bad header"),
    "an import that fails is named": (ImportError("No module named 'torch'"), "ImportError: No module named 'torch'"),
    "so is an operating system error": (PermissionError(13, "denied"), "PermissionError: [Errno 13] denied"),
}


@pytest.mark.parametrize(("error", "cause"), FAILURES.values(), ids=FAILURES)
def test_a_model_that_fails_to_load_says_why(
    error: BaseException, cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        models = store(FakeLoader(error))
        assert not await models.load("acme/one")
        status = models.statuses()[0]
        assert (status.state, status.stage, status.error) == ("failed", "", cause)
        refused = await refusal(models, ONE)
        assert refused.code == ErrorCode.MODEL_FAILED
        assert refused.message == f"model acme/one failed to load: {cause}"

    with caplog.at_level(logging.ERROR):
        asyncio.run(scenario())
    (record,) = caplog.records
    assert vars(record)["cause"] == cause
    # The traceback is for what nobody foresaw.
    assert (record.exc_info is not None) == (not isinstance(error, RuntimeError))


def test_a_model_that_failed_can_be_loaded_again() -> None:
    async def scenario() -> None:
        error = RuntimeError("no network")
        loader = FakeLoader(error)
        models = store(loader)
        await models.load("acme/one")
        loader.error = None
        assert await models.load("acme/one")
        assert (models.statuses()[0].state, models.statuses()[0].error) == ("ready", "")

    asyncio.run(scenario())


def test_a_source_that_this_server_lacks_is_named_with_those_it_has() -> None:
    async def scenario() -> None:
        models = store(FakeLoader(), spec("acme/far", source="pvc://claim/path"))
        assert not await models.load("acme/far")
        assert models.statuses()[0].error == (
            "source pvc://claim/path: this server cannot load from pvc://; it can from fake://"
        )

    asyncio.run(scenario())


def test_a_load_that_is_cancelled_is_no_failure() -> None:
    async def scenario() -> None:
        models = store(FakeLoader(gate=asyncio.Event()))
        loading = asyncio.ensure_future(models.load("acme/one"))
        await asyncio.sleep(0)
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        assert models.statuses()[0].state == "loading"

    asyncio.run(scenario())


FOUND = {
    "by its id": "acme/one",
    "by an alias": "uno",
    "by the last segment of its id": "one",
    "whatever the case, when only one matches": "ACME/One",
}


@pytest.mark.parametrize("name", FOUND.values(), ids=FOUND)
def test_a_model_is_found(name: str) -> None:
    assert store(FakeLoader()).find(name) is ONE


MISSED = {
    "a near name is proposed": ("acme/on", "did you mean: acme/one"),
    "without a near name all are listed": ("zzzzzz", "models here: acme/one, acme/two"),
    "a name of any length is shown in part": ("z" * 5000, f"'{'z' * 128}'"),
}


@pytest.mark.parametrize(("name", "words"), MISSED.values(), ids=MISSED)
def test_a_model_that_is_not_found(name: str, words: str) -> None:
    with pytest.raises(ModelNotFound) as missed:
        store(FakeLoader()).find(name)
    assert words in missed.value.message
    assert len(missed.value.message) < 400
    assert missed.value.code == ErrorCode.MODEL_NOT_FOUND
