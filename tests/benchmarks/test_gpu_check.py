"""The GPU check runs on the CPU by the same code, and every judgement of it can go against us."""

import json
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import gpu_check
import gpu_host
import gpu_memory
import gpu_models
import gpu_pictures
import gpu_report
import gpu_server
import gpu_speed
from gpu_pipelines import WARM_UP, load, place, read
from gpu_profile import PROFILES, Profile
from gpu_report import BEGIN, END, Line, PageError, Results
from harness import this_machine
from imagegen_shapes import WEIGHTS
from shapes_oracle import Seen

CPU = PROFILES["cpu"]
RUN_SECONDS = 280

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def run_check(repository: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    """Run the program as `make gpu-check` does."""
    return subprocess.run(
        [sys.executable, "benchmarks/gpu_check.py", *flags],
        env={**os.environ, "PYTHONPATH": "tests"},  # noqa: TID251 - a child needs its parent's environment
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """Return a page with a place for the table."""
    path = tmp_path / "gpu.md"
    path.write_text(f"before\n\n{BEGIN}\nan old table\n{END}\n\nafter\n")
    return path


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.timeout(RUN_SECONDS + 20)
def test_the_whole_check_passes_on_the_cpu_at_tiny_size(repository: Path, page: Path) -> None:
    done = run_check(repository, "--device", "cpu", "--write", str(page))
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads((repository / "benchmarks" / "out" / "gpu_check_cpu.json").read_bytes())
    lines = [msgspec.convert(line, Line) for line in written["lines"]]
    assert {line.section for line in lines} == set(gpu_check.CHECKS)
    assert [line.what for line in lines if line.verdict == "skipped"] == [gpu_memory.OUT_OF_MEMORY]
    judged = [line for line in lines if line.verdict == "right"]
    assert {line.section for line in judged} == {"pictures", "speed", "memory", "server"}
    assert not [line for line in lines if line.verdict == "WRONG"]
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert all(line.figure in text for line in lines)
    assert "an old table" not in text


@pytest.mark.slow
@without_gpu
def test_without_a_gpu_the_check_refuses_in_words(repository: Path) -> None:
    done = run_check(repository)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("gpu-check: GPUUnusable: device cuda was asked for, and ")


def results(*lines: Line) -> Results:
    return Results(device="a device", machine=this_machine("torch"), lines=lines)


def line(**changes: Any) -> Line:
    fields: dict[str, Any] = {"section": "speed", "what": "a tick", "figure": "1 ms"}
    return Line(**fields | changes)


def test_a_page_without_a_place_for_the_table_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    with pytest.raises(PageError, match="cannot be read: No such file"):
        gpu_report.write_into(path, results(line()))
    path.write_text(f"only {BEGIN}")
    with pytest.raises(PageError, match="has no place for the table"):
        gpu_report.write_into(path, results(line()))
    assert path.read_text() == f"only {BEGIN}"


def test_a_page_that_cannot_take_the_table_is_refused_before_the_long_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu_check.main(["--device", "cpu", "--write", str(tmp_path / "none.md")]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == f"gpu-check: {tmp_path}/none.md: cannot be read: No such file or directory\n"


def test_the_table_replaces_the_old_one_as_often_as_it_is_written(page: Path) -> None:
    gpu_report.write_into(page, results(line(figure="1 ms")))
    gpu_report.write_into(page, results(line(figure="2 ms", wanted="a | b", verdict="met")))
    text = page.read_text()
    assert "| speed | a tick | 2 ms | a / b | met |" in text
    assert "1 ms" not in text
    assert (text.count(BEGIN), text.count(END)) == (1, 1)


def test_a_check_that_breaks_is_wrong_and_the_others_still_run(capsys: pytest.CaptureFixture[str]) -> None:
    def breaks(_: Profile) -> Iterator[Line]:
        yield line(what="the first half")
        raise RuntimeError("no kernel image is available\nfor this device")

    def works(_: Profile) -> Iterator[Line]:
        yield line(what="the next part")

    lines = list(gpu_check.run(CPU, {"speed": breaks, "host": works}))
    assert [each.what for each in lines] == ["the first half", "the check ended early", "the next part"]
    assert (lines[1].verdict, lines[1].figure) == ("WRONG", "RuntimeError: no kernel image is available")
    assert results(*lines).wrong == (lines[1],)
    assert "no kernel image" in capsys.readouterr().err


@pytest.fixture(scope="module")
def embedded() -> Any:
    """Return the embedded model on the CPU."""
    return load(WEIGHTS, "cpu", "float32")


def test_pictures_of_other_seeds_are_wrong_in_every_number_format(embedded: Any) -> None:
    wanted = gpu_pictures.requests(CPU)[:2]
    others = [msgspec.structs.replace(request, seeds=(request.seeds[0] + 1,)) for request in wanted]
    expected, found = (gpu_pictures.together(embedded, each) for each in (wanted, others))
    assert gpu_pictures.exact_line("", expected, expected).verdict == "right"
    assert gpu_pictures.exact_line("", found, expected).verdict == "WRONG"
    for tolerance in gpu_pictures.TOLERANCES.values():
        assert gpu_pictures.near_line("", expected, expected, tolerance).verdict == "right"
        assert gpu_pictures.near_line("", found, expected, tolerance).verdict == "WRONG"


@pytest.mark.parametrize(("levels", "verdict"), [(1, "right"), (2, "WRONG")])
def test_one_subpixel_two_levels_off_is_wrong(levels: int, verdict: str) -> None:
    pixels = np.full((4, 4, 3), 100, np.uint8)
    moved = pixels.copy()
    moved[1, 2, 0] += levels
    found, expected = ([gpu_pictures.Made(torch.ones(1), each)] for each in (moved, pixels))
    assert gpu_pictures.exact_line("", found, expected).verdict == verdict


def test_latents_and_pictures_are_judged_each_by_itself() -> None:
    pixels = np.full((4, 4, 3), 100, np.uint8)
    expected = [gpu_pictures.Made(torch.ones(4), pixels)]
    tolerance = gpu_pictures.Tolerance(0.1, 40.0)
    drifted = [gpu_pictures.Made(torch.ones(4) * 1.2, pixels)]
    broken = [gpu_pictures.Made(torch.ones(4), pixels + np.uint8(5))]
    assert gpu_pictures.distance(drifted, expected).latents == pytest.approx(0.2)
    assert gpu_pictures.distance(broken, expected).psnr == pytest.approx(34.15, abs=0.01)
    assert gpu_pictures.near_line("", drifted, expected, tolerance).verdict == "WRONG"
    assert gpu_pictures.near_line("", broken, expected, tolerance).verdict == "WRONG"


def test_every_preset_is_asked_for_with_and_without_guidance_and_other_steps() -> None:
    wanted = gpu_pictures.requests(PROFILES["cuda"])
    assert len({request.scheduler for request in wanted}) == len(wanted) == 9
    assert {request.guided for request in wanted} == {True, False}
    assert len({request.steps for request in wanted}) == 3


def test_full_float32_lasts_as_long_as_the_block() -> None:
    convolutions: Any = torch.backends.cudnn.conv  # pyright: ignore[reportAttributeAccessIssue] - it is there
    before = convolutions.fp32_precision
    with gpu_pictures.full_float32():
        assert (convolutions.fp32_precision, torch.backends.cuda.matmul.fp32_precision) == ("ieee", "ieee")
    assert convolutions.fp32_precision == before != "ieee"


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        pytest.param([], (0, 0, 0), id="nothing ran"),
        pytest.param([(5, 8)], (3, 0, 0), id="what is before the first does not count"),
        pytest.param([(0, 2), (3, 4), (8, 9)], (4, 5, 4), id="gaps add up, the longest is told"),
        pytest.param([(0, 10), (2, 3), (4, 12)], (12, 0, 0), id="what overlaps counts once"),
        pytest.param([(6, 7), (0, 1)], (2, 5, 5), id="in any order"),
    ],
)
def test_gaps_are_the_time_in_which_nothing_runs(
    intervals: list[tuple[float, float]], expected: tuple[float, float, float]
) -> None:
    found = gpu_host.gaps(intervals)
    assert (found.busy, found.idle, found.longest) == expected


def test_reads_and_copies_of_a_devices_tensors_are_counted() -> None:
    numbers = torch.tensor([1.0, 0.0])
    with torch.inference_mode(), gpu_host.Operators("cpu") as here, gpu_host.Operators("cuda") as elsewhere:
        assert numbers[0].item() == 1
        assert bool(numbers[0])
        numbers.nonzero()
        numbers.to(torch.float32)  # as it is: nothing is copied
        numbers.to(torch.float16)
    assert (here.scalars, here.nonzero, here.copies) == (2, 1, 1)
    assert (elsewhere.scalars, elsewhere.nonzero) == (0, 0)


@pytest.mark.slow
def test_a_model_that_somebody_still_holds_is_wrong() -> None:
    held: list[Any] = []

    def leak(profile: Profile) -> "weakref.ref[Any]":
        held.append(read(WEIGHTS, profile.device, profile.number))
        return weakref.ref(held[-1].unet)

    found = gpu_memory.cycles_line(CPU, leak)
    assert (found.verdict, found.values["left"]) == ("WRONG", 3)


def test_a_picture_that_shows_something_else_is_wrong() -> None:
    seen = [Seen(scene.background, scene.colour, scene.shape, 1.0) for scene in gpu_server.SCENES]
    assert gpu_server.pictures_line(gpu_server.SCENES, seen).verdict == "right"
    assert gpu_server.pictures_line(gpu_server.SCENES, [*seen[1:], seen[0]]).verdict == "WRONG"


def test_the_work_of_a_tick_grows_with_its_rows_and_with_guidance() -> None:
    pipeline = place(gpu_models.BUILDERS["tiny SD"]("cpu", torch.float32), "cpu", "float32")
    one, two = (gpu_speed.a_request(CPU.loads[0], images, 1 + WARM_UP + CPU.ticks) for images in (1, 2))
    plain = msgspec.structs.replace(one, guidance_scale=1.0)
    flops = [gpu_speed.tick(pipeline, request, CPU).flops for request in (plain, one, two)]
    assert flops == [flops[0], 2 * flops[0], 4 * flops[0]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters", "tflop"),
    [
        pytest.param("SD 1.5", {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}, 0.8, id="SD 1.5"),
        pytest.param(
            "SDXL",
            {
                "unet": 2_567_463_684,
                "vae": 83_653_863,
                "text_encoder": 123_060_480,
                "text_encoder_2": 694_659_840,
            },
            6.76,  # 5.98 in its layers, the rest in attention's products of 4096 and 1024 positions
            id="SDXL",
        ),
    ],
)
def test_the_random_models_have_the_shapes_of_the_published_ones(
    name: str, parameters: dict[str, int], tflop: float
) -> None:
    """On the meta device, where tensors have shapes and no memory: parameters, and work of one UNet row."""
    pipe = gpu_models.BUILDERS[name]("meta", torch.float16)
    assert {part: sum(w.numel() for w in getattr(pipe, part).parameters()) for part in parameters} == parameters
    assert (pipe.unet.dtype, pipe.vae.dtype) == (torch.float16, torch.float32)
    config = pipe.unet.config
    states = torch.zeros(1, 77, config.cross_attention_dim, dtype=torch.float16, device="meta")
    latents = torch.zeros(1, 4, config.sample_size, config.sample_size, dtype=torch.float16, device="meta")
    added = {
        "text_embeds": torch.zeros(1, 1280, dtype=torch.float16, device="meta"),
        "time_ids": torch.zeros(1, 6, dtype=torch.float16, device="meta"),
    }
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        pipe.unet(latents, torch.zeros(1, device="meta"), states, added_cond_kwargs=added)
    assert counter.get_total_flops() / 1e12 == pytest.approx(tflop, rel=0.05)
