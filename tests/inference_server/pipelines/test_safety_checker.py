"""A picture that the model's safety checker flags never leaves the server."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

import tiny_pipelines
from imagegen_server.errors import ContentPolicy, LoadError
from loaded_pipelines import denoise, generation, load_pipeline
from server_process import ServerProcess, start_server
from stock_pipelines import StockPipeline

PROMPT = "a red circle"


@pytest.fixture(scope="module")
def checked(quiet: None, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:  # noqa: ARG001 - silence comes first
    """Return the folders of one model whose checker flags everything, and of the same whose checker flags nothing."""
    made = tmp_path_factory.mktemp("checked")
    return {
        name: tiny_pipelines.save(tiny_pipelines.stable_diffusion(flags=flags), made / name)
        for name, flags in (("strict", True), ("lenient", False))
    }


@pytest.fixture(scope="module")
def guarded(checked: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Return a server with the strict model, the lenient one, and the strict one with its checker switched off."""
    entries = [
        entry("strict", checked["strict"]),
        entry("lenient", checked["lenient"]),
        entry("unchecked", checked["strict"], safetyChecker=False),
    ]
    catalog = tmp_path_factory.mktemp("catalog") / "models.json"
    catalog.write_text(json.dumps(entries))
    flags = ("--catalog", str(catalog), "--load", "strict,lenient,unchecked", "--default-model", "strict")
    with start_server(*flags, "--cpu-threads", "1") as running:
        running.wait_ready()
        yield running


def entry(name: str, folder: Path, **inference: Any) -> dict[str, Any]:
    identity = {"publisher": "test", "family": "test", "version": "1", "id": name, "source": f"file://{folder}"}
    return identity | {"inference": {"steps": 2, **inference}}


def test_a_flagged_row_gives_no_picture(checked: Mapping[str, Path]) -> None:
    pipeline = load_pipeline(checked["strict"])
    rows = pipeline.admit(generation(steps=2))
    denoise(pipeline, rows)
    with pytest.raises(ContentPolicy):
        pipeline.picture(rows[0])


@pytest.mark.parametrize(
    ("name", "safety_checker"),
    [
        pytest.param("lenient", True, id="not flagged"),
        pytest.param("strict", False, id="checker switched off by the model's entry"),
    ],
)
def test_a_row_that_is_not_flagged_gives_its_picture_untouched(
    checked: Mapping[str, Path], pipelines: Mapping[str, Any], name: str, safety_checker: bool
) -> None:
    pictures: list[Any] = []
    for pipeline in (load_pipeline(checked[name], safety_checker=safety_checker), pipelines["sd"]):
        rows = pipeline.admit(generation(steps=2))
        denoise(pipeline, rows)
        pictures.append(pipeline.picture(rows[0]))
    assert np.array_equal(pictures[0], pictures[1])
    assert pictures[0].std() > 20


def test_the_stock_pipeline_flags_the_same(checked: Mapping[str, Path]) -> None:
    """There a flagged picture is black."""
    black = {
        name: not StockPipeline(folder).pictures(PROMPT, seeds=[7], size="64x64", steps=2, guidance=5.0)[0].any()
        for name, folder in checked.items()
    }
    assert black == {"strict": True, "lenient": False}


@pytest.mark.parametrize("n", [1, 3])
def test_a_request_with_a_flagged_picture_fails_and_returns_nothing_of_it(guarded: ServerProcess, n: int) -> None:
    reply = guarded.post({"model": "strict", "prompt": PROMPT, "seed": 1, "n": n})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (400, "content_policy_violation")
    assert set(reply.json()) == {"error"}
    assert set(error) == {"message", "type", "param", "code"}
    assert len(reply.content) < 500, "a picture would be larger"
    assert PROMPT not in reply.text


@pytest.mark.parametrize("model", ["lenient", "unchecked"])
def test_a_request_that_is_not_flagged_gets_its_pictures(guarded: ServerProcess, model: str) -> None:
    reply = guarded.post({"model": model, "prompt": PROMPT, "seed": 1, "n": 2})
    assert reply.status_code == 200
    assert len(reply.json()["data"]) == 2
    same = guarded.post({"model": "lenient", "prompt": PROMPT, "seed": 1, "n": 2})
    assert [data["b64_json"] for data in reply.json()["data"]] == [data["b64_json"] for data in same.json()["data"]]


def test_a_flagged_request_leaves_the_server_as_it_was(guarded: ServerProcess) -> None:
    body = {"model": "lenient", "prompt": PROMPT, "seed": 5}
    before = guarded.post(body).json()["data"]
    assert guarded.post(body | {"model": "strict"}).status_code == 400
    assert guarded.post(body).json()["data"] == before
    assert guarded.get("/readyz").status_code == 200
    assert guarded.status()["capacity"]["running_rows"] == 0


def test_a_checker_that_is_not_whole_is_refused(checked: Mapping[str, Path], tmp_path: Path) -> None:
    """With random numbers for what its file lacks it would flag at random."""
    folder = tmp_path / "weights"
    shutil.copytree(checked["lenient"], folder)
    weights = folder / "safety_checker" / "model.safetensors"
    tensors = load_file(weights)
    del tensors["visual_projection.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(LoadError, match="safety_checker: tensors are missing from the weights: visual_projection"):
        load_pipeline(folder)
