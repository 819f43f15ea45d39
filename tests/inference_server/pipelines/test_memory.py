"""What weights take: predicted from their files, measured once loaded, limited by the container, and given back."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import transformers

import tiny_pipelines
from imagegen_server.machine import host_memory
from imagegen_server.pipelines import memory
from imagegen_server.sources import Weights
from loaded_pipelines import cpu_loader, model_spec


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["embedded", "embedded-xl", "sd", "sdxl"])
def test_weights_are_weighed_as_they_are_loaded(
    folders: Mapping[str, Path], repository: Path, kind: str, dtype: str
) -> None:
    folder = repository / "tests" / "data" / "shapes-xl" if kind == "embedded-xl" else folders[kind]
    loader, weights = cpu_loader(dtype), Weights(path=folder)
    pipe = loader.read(weights, model_spec())
    for place in loader.placing(pipe):
        place()
    measured = loader.facts(pipe, loader.finish(pipe)).memory_bytes
    parts = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    assert measured == sum(each.nbytes for part in parts for each in (*part.parameters(), *part.buffers()))
    assert loader.weigh(weights, model_spec()) == pytest.approx(measured, rel=0.01)


def test_a_safety_checker_that_is_not_used_is_not_weighed(tmp_path: Path) -> None:
    folder = tiny_pipelines.save(tiny_pipelines.stable_diffusion(flags=False), tmp_path / "checked")
    loader, weights = cpu_loader(), Weights(path=folder)
    checker = sum(tensor.nbytes for tensor in tiny_pipelines.safety_checker(flags=False).parameters())
    used, unused = (loader.weigh(weights, model_spec(safety_checker=wanted)) for wanted in (True, False))
    assert used - unused == pytest.approx(checker, rel=0.02)


def test_a_model_is_placed_a_component_at_a_time(folders: Mapping[str, Path]) -> None:
    loader = cpu_loader()
    assert len(loader.placing(loader.read(Weights(path=folders["sdxl"]), model_spec()))) == 4


def test_weights_that_are_shared_count_once() -> None:
    first, second = torch.nn.Linear(8, 8, bias=False), torch.nn.Linear(8, 8, bias=False)
    apart = memory.tensor_bytes([first, second])
    second.weight = first.weight
    assert (apart, memory.tensor_bytes([first, second])) == (512, 256)


# The budget


def test_weights_may_take_half_of_the_hosts_memory() -> None:
    assert cpu_loader().memory_budget() == host_memory() // 2


# Given back

CYCLES = """
import psutil, sys
from pathlib import Path
from imagegen_server.pipelines.loading import PipelineLoader
from imagegen_server.sources import Weights
from loaded_pipelines import denoise, generation, model_spec

loader = PipelineLoader("cpu", "float32", 1)
resident = [psutil.Process().memory_info().rss]
for _ in range(10):
    pipe = loader.read(Weights(path=Path(sys.argv[1])), model_spec())
    for place in loader.placing(pipe):
        place()
    pipeline = loader.finish(pipe)
    rows = pipeline.admit(generation(steps=1))
    denoise(pipeline, rows)
    pipeline.picture(rows[0])
    weights = loader.facts(pipe, pipeline).memory_bytes
    del pipe, place, pipeline, rows
    loader.give_back()
    resident.append(psutil.Process().memory_info().rss)
print(weights, *resident)
"""


@pytest.mark.alone
@pytest.mark.slow
def test_loading_and_unloading_again_and_again_takes_no_more_memory(tmp_path: Path, repository: Path) -> None:
    """A process of its own loads 140 MB of weights ten times, read in 16 bit and widened."""
    pipe = tiny_pipelines.stable_diffusion()
    large = pipe.text_encoder.config.to_dict() | {"intermediate_size": 65536, "num_hidden_layers": 8}
    pipe.text_encoder = transformers.CLIPTextModel(transformers.CLIPTextConfig(**large))
    folder = tiny_pipelines.save(pipe.to(torch.float16), tmp_path / "large")
    environment = {
        "PYTHONPATH": os.pathsep.join([*sys.path, str(repository / "tests")]),
        # With a heap for each thread the C library keeps 0 to 80 MB of what was freed, never more: noise of the test.
        "MALLOC_ARENA_MAX": "1",
    }
    ran = subprocess.run(
        [sys.executable, "-c", CYCLES, folder],
        capture_output=True,
        check=True,
        env=os.environ | environment,  # noqa: TID251 - the child gets the test's own environment
        text=True,
        timeout=240,
    )
    weights, before, *resident = [int(size) for size in ran.stdout.split()]
    assert len(resident) == 10
    assert resident[9] <= resident[2] * 1.05, resident
    assert max(resident) - before < weights / 2, (weights, before, resident)
