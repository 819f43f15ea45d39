"""The law of readiness: a model fails to load in words that help, or makes a picture with every sampler it offers."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import tiny_pipelines
from conftest import Show
from imagegen_contract.load_failures import LoadFailure
from imagegen_contract.samplers import PRESETS
from odd_weights import ODD
from server_process import ServerProcess, start_server
from stock_pipelines import quiet_and_small

pytestmark = [pytest.mark.slow, pytest.mark.acceptance]

_COMPONENTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler", "feature_extractor", "safety_checker")
_REMEDIES = ("take ", "use ", "set ", "add ", "download ", "must ", "needed", "supported: ")
"""Words by which a message says what to do."""
_IDENTITY = {"publisher": "test", "family": "test", "version": "1"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Return the folder of each odd model."""
    made = tmp_path_factory.mktemp("odd")
    with quiet_and_small():
        kinds = {
            "sd": tiny_pipelines.save(tiny_pipelines.stable_diffusion(), made / "sd"),
            "sdxl": tiny_pipelines.save(tiny_pipelines.stable_diffusion_xl(), made / "sdxl"),
            "checked": tiny_pipelines.save(tiny_pipelines.stable_diffusion(flags=False), made / "checked"),
        }
        folders = {name: made / f"{number}" for number, name in enumerate(ODD)}
        for name, folder in folders.items():
            shutil.copytree(kinds[ODD[name].kind], folder)
            ODD[name].damage(folder)
    return folders


@pytest.fixture(scope="module")
def odd_server(weights: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Return a server that has all of them in its catalog, and loads what is asked for."""
    catalog = tmp_path_factory.mktemp("catalog") / "models_info.json"
    entries = [_IDENTITY | {"id": folder.name, "source": f"file://{folder}"} for folder in weights.values()]
    catalog.write_text(json.dumps([*entries, _IDENTITY | {"id": "good", "source": "builtin://shapes"}]))
    with start_server("--catalog", str(catalog), "--default-model", "good", "--cpu-threads", "1") as running:
        running.wait_ready()
        yield running


def picture(server: ServerProcess, model: str, **more: Any) -> Any:
    return server.post({"model": model, "prompt": "a red circle", "size": "64x64", "seed": 1} | more)


@pytest.mark.parametrize("name", ODD)
def test_a_model_of_odd_weights_fails_in_words_or_serves_with_all_that_it_offers(
    name: str, weights: Mapping[str, Path], odd_server: ServerProcess, show: Show
) -> None:
    odd, model = ODD[name], weights[name].name
    first = picture(odd_server, model, num_inference_steps=1)
    info = odd_server.get(f"/v1/models/{model}").json()
    if odd.words:
        error = first.json()["error"]
        assert (first.status_code, error["code"], info["state"]) == (503, "model_failed", "failed"), error
        assert info["reason"] == LoadFailure.WEIGHTS_INVALID
        assert odd.words in info["error"]
        assert any(component in info["error"] for component in _COMPONENTS)
        assert any(remedy in info["error"] for remedy in _REMEDIES)
        show(f"14.2 {name}", info["error"])
        return
    assert info["state"] == "ready", info["error"]
    assert set(info["schedulers"]) == set(PRESETS) - odd.without
    asked = [(scheduler, steps) for scheduler in info["schedulers"] for steps in (1, 7)]
    replies = [picture(odd_server, model, scheduler=scheduler, num_inference_steps=steps) for scheduler, steps in asked]
    bad = {each: reply.text[:300] for each, reply in zip(asked, replies, strict=True) if reply.status_code != 200}
    assert bad == {}
    assert first.status_code == 200, "the model's own scheduler, or the first of those it offers"
    for missing in odd.without:
        refused = picture(odd_server, model, scheduler=missing)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "scheduler")
    show(f"14.2 {name}", f"{len(info['schedulers'])} of {len(PRESETS)} samplers, {len(asked)} pictures, 0 failed")
