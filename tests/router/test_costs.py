"""What a request is thought to cost: what its pods have measured, however few requests succeed."""

import asyncio
import json

import msgspec
import pytest

import virtual_time
from dispatch_scene import MODEL, SECONDS, SHAPE, Scene
from imagegen_contract.device_costs import DecodeCost, EvaluationCost, ModelCosts
from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.server_status import ServerStatus
from imagegen_router.costs import CostModel, Shape
from imagegen_router.queueing import Limits
from imagegen_router.reading import read_facts
from imagegen_web.errors import QueueFull
from misbehaving.pods import healthy_status
from virtual_time import now

PIXELS = SHAPE.pixels
GUESS = CostModel().row("unknown", "", SHAPE, ()).seconds


def telling(evaluation: float, decode: float = 0.0, *, model: str = MODEL, rows: int = 1) -> ServerStatus:
    """Return the status of an idle pod that has measured guided pictures of the usual size."""
    costs = ModelCosts(
        model=model,
        evaluations=(EvaluationCost(pixels=PIXELS, guided=True, rows=rows, seconds=evaluation),),
        decodes=(DecodeCost(pixels=PIXELS, seconds=decode),),
    )
    return msgspec.structs.replace(healthy_status(MODEL), costs=(costs,))


def hear(scene: Scene, *statuses: ServerStatus) -> None:
    """Have each pod tell how it is."""
    for endpoint, status in zip(scene.endpoints, statuses, strict=True):
        endpoint.hear(status, MODEL, now(), now())


def test_what_a_pod_has_measured_is_what_a_request_costs_there_though_none_ever_succeeded() -> None:
    async def scene() -> None:
        here = Scene(1)
        hear(here, telling(evaluation=10.0, decode=5.0))
        endpoint = await here.dispatcher.place(here.request())
        assert endpoint.remaining_seconds(now()) == pytest.approx(SHAPE.steps * 10.0 + 5.0)

    virtual_time.run(scene())


def test_a_prediction_follows_the_pod_within_a_report_up_and_down() -> None:
    async def scene() -> None:
        here = Scene(1)
        for evaluation in (100.0, 0.5, 100.0):
            hear(here, telling(evaluation))
            request = here.request()
            endpoint = await here.dispatcher.place(request)
            assert endpoint.remaining_seconds(now()) == pytest.approx(SHAPE.steps * evaluation)
            here.dispatcher.ended(request, endpoint)
            await asyncio.sleep(1)

    virtual_time.run(scene())


def test_a_request_goes_to_the_pod_that_has_measured_to_be_faster() -> None:
    async def scene() -> None:
        here = Scene(2)
        hear(here, telling(3.0), telling(1.0))
        assert (await here.dispatcher.place(here.request())).name == "pod-1"

    virtual_time.run(scene())


def test_pictures_that_share_an_evaluation_cost_what_was_measured_of_so_many() -> None:
    async def scene() -> None:
        here = Scene(1)
        hear(here, telling(1.0, rows=4))
        endpoint = await here.dispatcher.place(here.request(rows=4))
        assert endpoint.remaining_seconds(now()) == pytest.approx(4 * SHAPE.steps * 1.0)

    virtual_time.run(scene())


def test_what_a_pod_tells_of_another_model_is_not_taken_for_this_one() -> None:
    async def scene() -> None:
        here = Scene(1)
        hear(here, telling(100.0, model="acme/other"))
        endpoint = await here.dispatcher.place(here.request())
        assert endpoint.remaining_seconds(now()) == pytest.approx(SECONDS), "what replies have told"

    virtual_time.run(scene())


def test_a_room_is_not_full_of_seconds_that_are_only_guessed() -> None:
    async def scene() -> None:
        here = Scene(1, Limits(seconds=2.5 * GUESS), cold=True)
        running = [asyncio.create_task(here.dispatcher.place(here.request())) for _ in range(6)]
        await asyncio.sleep(0)
        assert here.dispatcher.waiting(MODEL) == (5, pytest.approx(5 * GUESS))
        for task in running:
            task.cancel()

    virtual_time.run(scene())


def test_a_room_that_is_full_of_measured_seconds_is_full() -> None:
    async def scene() -> None:
        here = Scene(1, Limits(seconds=2.5 * 8.0))
        hear(here, telling(1.0))
        running = [asyncio.create_task(here.dispatcher.place(here.request())) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await here.dispatcher.place(here.request())
        for task in running:
            task.cancel()

    virtual_time.run(scene())


@pytest.mark.parametrize(
    ("asked", "evaluations", "guided"),
    [
        pytest.param({}, 20, True, id="the entry's"),
        pytest.param({"guidance_scale": 1}, 20, False, id="without guidance"),
        pytest.param({"scheduler": "heun"}, 39, True, id="heun"),
        pytest.param({"scheduler": "HeunDiscreteScheduler"}, 39, True, id="a class of diffusers"),
        pytest.param({"scheduler": "nobody's"}, 20, True, id="what no pod accepts"),
    ],
)
def test_sampler_and_guidance_are_read_of_a_request(
    asked: dict[str, object], evaluations: int, *, guided: bool
) -> None:
    entry = {"publisher": "a", "family": "f", "version": "1", "id": MODEL, "inference": {"guidanceScale": 5}}
    body = json.dumps({"prompt": "x", "num_inference_steps": 20, **asked}).encode()
    shape = read_facts(body).shape(msgspec.convert(entry, ImageModelSpec), PIXELS)
    assert shape == Shape(PIXELS, evaluations, guided)


def test_a_client_who_tries_every_size_fills_no_memory() -> None:
    costs = CostModel()
    costs.learn("m", "d", Shape(1, 1), 1000.0)
    for pixels in range(10, 10 + 256):
        costs.learn("m", "d", Shape(pixels, 1), 1.0)
    assert costs.row("m", "d", Shape(265, 1), ()).seconds == pytest.approx(1.0)
    assert costs.row("m", "d", Shape(1, 1), ()).seconds < 1, "the oldest shape is forgotten"
