"""What a real server says while it loads a model: stages that are true, and no import for what cannot fit."""

from pathlib import Path

import pytest

from conftest import Show
from server_process import START_SECONDS, start_server, wait_until

pytestmark = pytest.mark.slow

STAGES = {
    "fetching weights",
    "waiting for its turn",
    "weighing",
    "importing torch and diffusers",
    "reading weights",
    "placing weights",
    "making a first picture",
    "",
}


@pytest.mark.acceptance
def test_a_load_tells_what_it_does(show: Show) -> None:
    seen: dict[str, bool] = {}
    with start_server() as server:

        def ready() -> bool:
            (model,) = (each for each in server.status()["models"] if each["id"] == "imagegen/shapes")
            stage = model.get("stage", "")
            seen[stage] = seen.get(stage, False) or model.get("progress") is not None
            return model["state"] == "ready"

        wait_until(ready, START_SECONDS, "the model to be ready", every=0.001)
        costs = server.status()["costs"]
    assert set(seen) <= STAGES, "no other stage is passed by a model that finds room at once"
    assert "importing torch and diffusers" in seen, "it takes seconds"
    assert [each["model"] for each in costs] == ["imagegen/shapes"], "what a picture takes was measured"
    show("15 stages of a load", ", ".join(filter(None, seen)))


@pytest.mark.acceptance
def test_what_cannot_fit_is_refused_before_torch_is_imported(show: Show) -> None:
    with start_server("--memory-budget-mib", "5") as server:
        wait_until(lambda: server.get("/v1/models/imagegen/shapes").json()["error"], START_SECONDS, "the refusal")
        loaded = Path(f"/proc/{server.process.pid}/maps").read_text()
        info = server.get("/v1/models/imagegen/shapes").json()
    assert info["reason"] == "ExceedsMemoryBudget"
    assert "libtorch" not in loaded
    show("15 refused before the import", info["error"])
