"""Weights that cannot fit are refused before torch is imported; who may fit is not."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from fake_models import spec
from imagegen_contract.load_failures import LoadFailure
from imagegen_contract.server_settings import ServerSettings
from imagegen_server.errors import ExceedsBudget
from imagegen_server.machine import host_memory
from imagegen_server.pipelines.components import WeightsError
from imagegen_server.sources import Weights
from imagegen_server.sources.checkpoints import UNET, VAE
from imagegen_server.weighing import HOST_SHARE, check_budget
from imagegen_shapes import WEIGHTS

HERE = Weights(path=WEIGHTS)
SHAPES = spec("imagegen/shapes", "builtin://shapes")


@pytest.fixture
def no_gpu(tmp_path: Path) -> Path:
    """Return a folder of devices that are none."""
    (tmp_path / "null").touch()
    return tmp_path


@pytest.fixture
def gpu(tmp_path: Path) -> Path:
    """Return a folder of devices with a GPU's among them."""
    (tmp_path / "nvidia0").touch()
    return tmp_path


def test_weights_beyond_the_budget_of_the_settings_are_refused_in_its_words(no_gpu: Path) -> None:
    settings = ServerSettings(memory_budget_mib=10, dtype="float32")
    with pytest.raises(ExceedsBudget, match=r"the weights take \d+ MiB, and the memory budget is 10 MiB") as refused:
        check_budget(HERE, SHAPES, settings, no_gpu)
    assert refused.value.reason is LoadFailure.EXCEEDS_MEMORY_BUDGET


def test_with_a_gpu_16_bit_numbers_may_do_and_without_one_they_do_not(tmp_path: Path, no_gpu: Path) -> None:
    settings = ServerSettings(memory_budget_mib=12)
    with pytest.raises(ExceedsBudget):
        check_budget(HERE, SHAPES, settings, no_gpu)
    (tmp_path / "nvidia0").touch()
    check_budget(HERE, SHAPES, settings, tmp_path)


def test_without_a_setting_the_budget_is_known_where_the_device_is_sure_to_be_the_cpu(
    no_gpu: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_budget(HERE, SHAPES, ServerSettings(), no_gpu)
    assert HOST_SHARE * host_memory() > 2**20
    monkeypatch.setattr("imagegen_server.weighing.host_memory", lambda: 2**20)
    for settings in (ServerSettings(), ServerSettings(device="cpu")):
        with pytest.raises(ExceedsBudget, match="the memory budget is 0 MiB"):
            check_budget(HERE, SHAPES, settings, no_gpu)
    check_budget(HERE, SHAPES, ServerSettings(device="cuda"), no_gpu)


def test_what_only_torch_knows_refuses_nobody(gpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagegen_server.weighing.host_memory", lambda: 2**20)
    check_budget(HERE, SHAPES, ServerSettings(), gpu)


def test_a_checkpoint_is_weighed_by_its_unet_and_its_vae(tmp_path: Path, no_gpu: Path) -> None:
    tensors = {f"{UNET}input_blocks.0.0.weight": 2**20, f"{VAE}decoder.conv_in.weight": 2**20, "ema": 2**24}
    file = tmp_path / "one.safetensors"
    save_file({name: np.zeros(count, np.float16) for name, count in tensors.items()}, file)
    weights = Weights(path=file, config=tmp_path)
    check_budget(weights, SHAPES, ServerSettings(memory_budget_mib=8, dtype="float32"), no_gpu)
    check_budget(weights, SHAPES, ServerSettings(memory_budget_mib=6, dtype="float16"), no_gpu)
    with pytest.raises(ExceedsBudget, match="take 8 MiB, and the memory budget is 7 MiB"):
        check_budget(weights, SHAPES, ServerSettings(memory_budget_mib=7, dtype="float32"), no_gpu)


def test_weights_that_are_no_good_are_refused_too(no_gpu: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"model_index\.json"):
        check_budget(Weights(path=tmp_path), SHAPES, ServerSettings(), no_gpu)


@pytest.mark.slow
def test_weighing_imports_no_torch() -> None:
    code = "import sys, imagegen_server.weighing; sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
