"""The parts of the training do what their docstrings say; nothing here takes more than a few steps."""

import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from torch import nn

from imagegen_shapes import WEIGHTS
from imagegen_shapes_training import adherence, diffusion, packing, sdxl_twin, text_encoder, unet, vae
from imagegen_shapes_training.captions import said_words
from imagegen_shapes_training.compositions import Mix, composition
from imagegen_shapes_training.evaluation import Score, Setting
from imagegen_shapes_training.latents import Pool
from imagegen_shapes_training.optimiser import Optimiser
from imagegen_shapes_training.progress import Progress, StageFailedError
from imagegen_shapes_training.recipe import FULL, PoolRecipe, Schedule, Thresholds
from imagegen_shapes_training.tokenizer import END_TOKEN, LENGTH, token_ids, unknown_words


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def shipped() -> StableDiffusionPipeline:
    return StableDiffusionPipeline.from_pretrained(str(WEIGHTS), dtype=torch.float32)


def test_the_rate_rises_stays_and_falls_to_nearly_nothing() -> None:
    rates = [Schedule(steps=100, peak=2.0, warm_up=10, decay=0.5).rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9:50] == [2.0] * 41
    assert all(earlier > later > 0 for earlier, later in pairwise(rates[50:]))
    assert rates[-1] == pytest.approx(0.04)


def test_the_optimiser_trains_what_wants_gradients_and_averages_it() -> None:
    torch.manual_seed(0)
    pair = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    next(pair.children()).requires_grad_(requires_grad=False)
    before = {name: weight.clone() for name, weight in pair.state_dict().items()}
    optimiser = Optimiser(pair, Schedule(steps=50, peak=0.05, warm_up=1, decay=1.0), 0.9)
    for _ in range(50):
        optimiser.step(pair(torch.ones(4, 2)).square().mean())
    trained, averaged = pair.state_dict(), optimiser.average.state_dict()
    assert torch.equal(trained["0.weight"], before["0.weight"])
    assert pair(torch.ones(1, 2)).abs().item() < 0.05
    assert not torch.equal(averaged["1.weight"], before["1.weight"])
    assert not torch.equal(averaged["1.weight"], trained["1.weight"])


@pytest.mark.parametrize("losses", [[0.5, 0.6], [float("nan")], [0.1, float("nan")]])
def test_a_stage_that_did_not_learn_fails_in_words(losses: list[float]) -> None:
    progress = Progress("unet", len(losses))
    for loss in losses:
        progress.note(loss)
    with pytest.raises(StageFailedError, match=r"unet: the loss is \S+ after \d steps and should be below 0.4"):
        progress.require_below(0.4)
    if losses[-1] == losses[-1]:
        progress.require_below(0.6)


def test_every_word_of_a_caption_is_one_token_and_unknown_words_are_not_among_them() -> None:
    words = sorted(said_words())
    ids = token_ids(words)
    assert ids.shape == (len(words), LENGTH)
    split = [word for word, row in zip(words, ids, strict=True) if row[2] != END_TOKEN]
    assert split == ["4k"]
    assert not said_words() & set(unknown_words())
    assert len(set(unknown_words())) > 500


def test_the_untrained_autoencoder_already_is_a_box_average() -> None:
    torch.manual_seed(0)
    assert vae.psnr(vae.build(), 128, 8) > 20


def test_the_networks_have_the_sizes_that_are_documented() -> None:
    networks = (vae.build(), text_encoder.Reader().encoder, unet.build())
    assert [round(parameters(network) / 1e6, 3) for network in networks] == [0.237, 0.379, 2.975]


def test_the_noise_goes_from_nearly_none_to_nearly_all() -> None:
    alphas = diffusion.scheduler().alphas_cumprod
    assert alphas[0] > 0.9995
    assert alphas[-1] < 1e-4


def test_signal_and_velocity_give_the_latents_back_and_half_of_the_steps_lie_in_the_middle() -> None:
    lots = torch.Generator().manual_seed(0)
    latents = torch.randn(512, 4, 4, 4, generator=lots)
    batch = diffusion.noised(latents, lots)
    alphas = diffusion.scheduler().alphas_cumprod[batch.timesteps][:, None, None, None]
    restored = alphas.sqrt() * batch.sample - (1 - alphas).sqrt() * batch.velocity
    assert torch.allclose(restored, latents, atol=1e-5)
    middle = ((batch.timesteps >= 250) & (batch.timesteps < 870)).float().mean().item()
    assert middle == pytest.approx(0.6 + 0.4 * 0.62, abs=0.05)
    assert 0 <= batch.timesteps.min() < 20
    assert 980 < batch.timesteps.max() < 1000


def test_edges_weigh_more_than_objects_and_objects_more_than_background() -> None:
    latents = torch.zeros(1, 4, 16, 16)
    latents[:, :, 4:12, 4:12] = 1
    weights = diffusion.noised(latents, torch.Generator().manual_seed(0)).weights[0, 0]
    background, inside, edge = weights[0, 0], weights[8, 8], weights[4, 8]
    assert (inside / background).item() == pytest.approx(3)
    assert (edge / background).item() == pytest.approx(8)
    assert weights.mean().item() == pytest.approx(1)


def test_a_pool_depends_on_the_step_alone(shipped: StableDiffusionPipeline) -> None:
    recipe = PoolRecipe(pixels=32, capacity=24, refresh=2, batch=6, share=1.0)
    stepwise, at_once = Pool(recipe, shipped.vae, Mix()), Pool(recipe, shipped.vae, Mix())
    for step in range(5):
        stepwise.move_to(step)
    before = stepwise.batch(random.Random(1))
    at_once.move_to(4)
    after = at_once.batch(random.Random(1))
    assert before[0] == after[0]
    assert torch.equal(before[1], after[1])
    stepwise.move_to(6)
    assert stepwise.batch(random.Random(1))[0] != before[0]


@pytest.mark.slow
def test_the_untrained_twin_nearly_predicts_what_the_original_does(shipped: StableDiffusionPipeline) -> None:
    torch.manual_seed(0)
    twin = sdxl_twin.build(shipped).eval()
    captions = ["a red circle on a blue background", "", "a yellow star", "a small white ring at the top on green"]
    latents = vae.encode(shipped.vae, [composition("twin", index, Mix()) for index in range(4)], 128)
    batch = diffusion.noised(latents, torch.Generator().manual_seed(0))
    with torch.no_grad():
        states = text_encoder.hidden_states(shipped.text_encoder, captions)
        original = shipped.unet(batch.sample, batch.timesteps, states).sample
        copied = twin.predict(batch, captions)
        unread = twin.predict(batch, list(reversed(captions)))
    assert (copied - original).square().mean() < 0.1 * (unread - original).square().mean()


def test_a_packed_pipeline_loads_as_it_was_and_a_repeated_install_replaces(
    shipped: StableDiffusionPipeline, tmp_path: Path
) -> None:
    packed, target = tmp_path / "packed", tmp_path / "weights"
    packing.pack(shipped.vae, shipped.text_encoder, shipped.unet, packed)
    target.mkdir()
    (target / "old").touch()
    (packed / "recipe.json").touch(mode=0o600)
    packing.install(packed, target)
    names = {path.relative_to(WEIGHTS) for path in WEIGHTS.rglob("*")}
    assert {path.relative_to(target) for path in target.rglob("*")} == names
    assert {path.stat().st_mode & 0o777 for path in target.rglob("*") if path.is_file()} == {0o644}
    for name in (name for name in names if name.suffix == ".safetensors"):
        before, after = load_file(WEIGHTS / name), load_file(target / name)
        assert all(torch.equal(before[key], after[key]) for key in before)
    for name in (name for name in names if name.suffix in {".json", ".txt"}):
        assert (target / name).read_text() == (WEIGHTS / name).read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["packed", "weights"]


@pytest.mark.parametrize(
    ("reached", "below"), [((100, 98, 95), []), ((99, 98, 94), ["background", "shape"]), ((100, 97, 100), ["colour"])]
)
def test_scores_are_held_against_the_pinned_thresholds(reached: Sequence[float], below: list[str]) -> None:
    score = Score("shapes", Setting(pixels=128, steps=8), 100, *reached)
    sentences = score.shortfalls(FULL.evaluation.thresholds)
    named = [aspect for aspect in ("background", "colour", "shape") if any(f": {aspect} is" in s for s in sentences)]
    assert named == below
    assert len(sentences) == len(below)


def test_the_thresholds_are_those_that_the_page_names() -> None:
    assert FULL.evaluation.thresholds == Thresholds(background=100, colour=98, shape=95)
    assert len(adherence.random_scenes(1, FULL.evaluation.prompts)) == 100
