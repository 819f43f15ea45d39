"""The Hub as a source: what is fetched, which commit it is of, what comes out of the cache."""

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import scan_cache_dir, snapshot_download

from hub_fetching import HALVES, MakeSource, fetch, files_in, refusal
from hub_folders import CONFIGURATION, SD_INDEX, UNET, checkpoint, put, write_repository
from hub_server import Hub
from imagegen_contract.load_failures import LoadFailure
from imagegen_contract.server_status import DownloadProgress
from imagegen_server.sources import FetchCancelled, SourceError, Wanted
from imagegen_server.sources.hub import split_reference


def test_only_the_files_of_the_pipeline_are_fetched(hub: Hub, make_source: MakeSource, repository_folder: Path) -> None:
    weights = fetch(make_source())

    assert files_in(weights.path) == {"model_index.json", *CONFIGURATION, *HALVES}
    assert weights.variant == "fp16"
    assert hub.total_sent == hub.size("acme/model", "model_index.json", *CONFIGURATION, *HALVES)
    for path in files_in(weights.path):
        assert (weights.path / path).read_bytes() == (repository_folder / path).read_bytes()


def test_the_plain_files_are_fetched_for_32_bit(make_source: MakeSource) -> None:
    weights = fetch(make_source(), half=False)

    assert weights.variant == ""
    assert UNET in files_in(weights.path)
    assert not set(HALVES) & files_in(weights.path)


@pytest.mark.slow
def test_other_programs_find_the_files_where_they_look_for_them(hub: Hub, make_source: MakeSource, cache: Path) -> None:
    weights = fetch(make_source())
    sent = hub.total_sent

    theirs = snapshot_download(
        "acme/model", endpoint=hub.url, cache_dir=cache, allow_patterns=["model_index.json", *CONFIGURATION, *HALVES]
    )

    assert Path(theirs) == weights.path
    assert hub.total_sent == sent
    scanned = scan_cache_dir(cache)
    assert not scanned.warnings
    assert [repository.repo_id for repository in scanned.repos] == ["acme/model"]


@pytest.mark.slow
def test_what_other_programs_have_fetched_is_not_fetched_again(hub: Hub, make_source: MakeSource, cache: Path) -> None:
    snapshot_download("acme/model", endpoint=hub.url, cache_dir=cache)
    sent = hub.total_sent

    weights = fetch(make_source())

    assert hub.total_sent == sent
    assert weights.variant == "fp16"


def test_a_second_fetch_asks_the_hub_one_thing_and_fetches_nothing(hub: Hub, make_source: MakeSource) -> None:
    fetch(make_source())
    before = len(hub.requests)

    fetch(make_source())

    assert [path for _, path, _ in hub.requests[before:]] == ["/api/models/acme/model/revision/main"]


def test_a_commit_that_is_in_the_cache_needs_no_hub(hub: Hub, make_source: MakeSource) -> None:
    weights = fetch(make_source())
    before = len(hub.requests)

    again = fetch(make_source(), revision=weights.revision)

    assert again == weights
    assert len(hub.requests) == before


@pytest.mark.slow
def test_a_branch_that_moves_is_followed_and_the_old_commit_stays(
    hub: Hub, make_source: MakeSource, tmp_path: Path, repository_folder: Path
) -> None:
    mine = hub.folders["acme/model"] = tmp_path / "mine"
    shutil.copytree(repository_folder, mine)
    old = fetch(make_source())
    put(mine / "unet/config.json", b'{"of": "a newer one"}')
    sent = hub.total_sent

    new = fetch(make_source())

    assert new.revision != old.revision
    assert (new.path / "unet/config.json").read_bytes() == b'{"of": "a newer one"}'
    assert (old.path / "unet/config.json").read_bytes() != b'{"of": "a newer one"}'
    assert hub.total_sent - sent == len(b'{"of": "a newer one"}')


def test_a_tag_is_resolved_to_its_commit(hub: Hub, make_source: MakeSource) -> None:
    hub.tags.add("v1.0")
    repository = hub.repository("acme/model")

    weights = fetch(make_source(), revision="v1.0")

    assert repository is not None
    assert weights.revision == repository.commit
    assert weights.path.name == repository.commit


@pytest.mark.parametrize("revision", ["../../etc", "a b", "/main", "-x"])
def test_a_revision_that_is_none_reaches_nobody(hub: Hub, make_source: MakeSource, revision: str) -> None:
    failure = refusal(make_source(), revision=revision)

    assert "is no branch, tag or commit" in str(failure)
    assert not hub.requests


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("model", "allowed: hf://owner/name"),
        ("acme/", "allowed: hf://owner/name"),
        ("../model", "allowed: hf://owner/name"),
        ("acme/model/../../x.safetensors", "allowed: hf://owner/name"),
        ("acme/model/x.ckpt", "is no .safetensors file"),
    ],
)
def test_references_that_name_no_model_are_refused(reference: str, words: str) -> None:
    with pytest.raises(SourceError) as failure:
        split_reference(reference)

    assert words in str(failure.value)


def test_offline_loads_what_the_cache_holds_by_branch_and_by_commit(hub: Hub, make_source: MakeSource) -> None:
    weights = fetch(make_source())
    before = len(hub.requests)

    assert fetch(make_source(offline=True)) == weights
    assert fetch(make_source(offline=True), revision=weights.revision) == weights
    assert len(hub.requests) == before


def test_offline_takes_the_variant_that_is_there(make_source: MakeSource) -> None:
    fetch(make_source(), half=False)

    weights = fetch(make_source(offline=True), half=True)

    assert weights.variant == ""


def test_offline_names_what_the_cache_lacks(make_source: MakeSource) -> None:
    nothing = refusal(make_source(offline=True))
    weights = fetch(make_source())
    (weights.path / HALVES[2]).resolve().unlink()

    part = refusal(make_source(offline=True))

    assert nothing.reason == part.reason == LoadFailure.WEIGHTS_NOT_CACHED
    assert "it lacks model_index.json" in str(nothing)
    assert f"it lacks {HALVES[2]}" in str(part)


@pytest.mark.slow
def test_offline_a_half_filled_cache_of_another_program_is_not_taken_for_whole(
    hub: Hub, make_source: MakeSource, cache: Path
) -> None:
    snapshot_download("acme/model", endpoint=hub.url, cache_dir=cache, ignore_patterns=["*.bin", "vae/*.safetensors"])

    failure = refusal(make_source(offline=True))

    assert failure.reason == LoadFailure.WEIGHTS_NOT_CACHED
    assert "component vae" in str(failure)


@pytest.mark.slow
@pytest.mark.parametrize("by_commit", [False, True])
def test_what_another_program_has_not_fetched_is_fetched(
    hub: Hub, make_source: MakeSource, cache: Path, by_commit: bool
) -> None:
    snapshot_download("acme/model", endpoint=hub.url, cache_dir=cache, ignore_patterns=["tokenizer/vocab.json"])
    repository = hub.repository("acme/model")
    assert repository is not None

    weights = fetch(make_source(), revision=repository.commit if by_commit else "")

    assert "tokenizer/vocab.json" in files_in(weights.path)


@pytest.mark.slow
def test_a_restart_does_not_depend_on_the_hub(
    hub: Hub, make_source: MakeSource, caplog: pytest.LogCaptureFixture
) -> None:
    weights = fetch(make_source())
    hub.faults.refuse(503, times=99)

    with caplog.at_level(logging.WARNING):
        assert fetch(make_source()) == weights
        assert fetch(make_source(endpoint="http://127.0.0.1:1")) == weights

    assert [record.message for record in caplog.records].count(
        "the Hub cannot be asked; what the cache holds of the revision is used"
    ) == 2
    assert len(hub.faults.refusals) == 98


@pytest.mark.slow
def test_an_update_that_breaks_off_leaves_the_commit_before_it_usable(
    hub: Hub, make_source: MakeSource, tmp_path: Path, repository_folder: Path
) -> None:
    mine = hub.folders["acme/model"] = tmp_path / "mine"
    shutil.copytree(repository_folder, mine)
    old = fetch(make_source())
    put(mine / HALVES[2], bytes(300_000))
    hub.faults.truncate_at = 0

    assert fetch(make_source()) == old
    assert fetch(make_source(offline=True)) == old


SINGLE = {
    "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
    "first_stage_model.decoder.conv_in.weight": (1,),
    "cond_stage_model.transformer.text_model.embeddings.position_ids": (1,),
}
"""Tensors by which a file is of Stable Diffusion 1.x."""


def test_a_single_file_beside_a_pipeline_takes_its_configuration(
    hub: Hub, make_source: MakeSource, tmp_path: Path
) -> None:
    hub.folders["acme/both"] = write_repository(tmp_path / "both")
    put(tmp_path / "both" / "one.safetensors", checkpoint(SINGLE))

    weights = fetch(make_source(), "acme/both/one.safetensors")

    wanted = {path for path in CONFIGURATION if not path.startswith(("safety_checker", "feature_extractor"))}
    assert weights.config == weights.path.parent
    assert files_in(weights.path.parent) == {"one.safetensors", "model_index.json", *wanted}
    assert fetch(make_source(offline=True), "acme/both/one.safetensors") == weights


def test_a_single_file_is_fetched_with_the_configuration_that_the_entry_names(
    hub: Hub, make_source: MakeSource, tmp_path: Path
) -> None:
    put(tmp_path / "single" / "deep/one.safetensors", checkpoint(SINGLE))
    hub.folders["acme/single"] = tmp_path / "single"

    weights = fetch(make_source(), "acme/single/deep/one.safetensors", config="hf://acme/model")

    assert files_in(weights.path.parent.parent) == {"deep/one.safetensors"}
    assert weights.config is not None
    wanted = {path for path in CONFIGURATION if not path.startswith(("safety_checker", "feature_extractor"))}
    assert files_in(weights.config) == {"model_index.json", *wanted}
    assert fetch(make_source(offline=True), "acme/single/deep/one.safetensors", config="hf://acme/model") == weights


def test_a_file_that_is_not_there_is_refused_with_those_that_are(make_source: MakeSource) -> None:
    failure = refusal(make_source(), "acme/model/sd-v1-5.safetensors")

    assert failure.reason == LoadFailure.WEIGHTS_NOT_FOUND
    assert "no file sd-v1-5.safetensors; .safetensors files beside it: sd-v1-4.safetensors" in str(failure)


def test_a_repository_without_a_pipeline_names_its_single_files(
    hub: Hub, make_source: MakeSource, tmp_path: Path
) -> None:
    put(tmp_path / "single" / "one.safetensors", checkpoint({"x": (1,)}))
    hub.folders["acme/single"] = tmp_path / "single"

    failure = refusal(make_source(), "acme/single")

    assert failure.reason == LoadFailure.WEIGHTS_NOT_FOUND
    assert "needs model_index.json" in str(failure)
    assert "one.safetensors" in str(failure)


def test_unsafe_repositories_are_refused_before_the_weights(hub: Hub, make_source: MakeSource, tmp_path: Path) -> None:
    folder = hub.folders["acme/model"] = write_repository(tmp_path / "unsafe")
    put(folder / "model_index.json", json.dumps({**SD_INDEX, "_class_name": ["pipeline", "Ours"]}).encode())

    failure = refusal(make_source())

    assert failure.reason == LoadFailure.UNSAFE_WEIGHTS
    assert set(hub.bytes_sent) == {"acme/model/model_index.json"}


@pytest.mark.slow
def test_progress_knows_the_total_first_and_ends_at_all_of_it(hub: Hub, make_source: MakeSource) -> None:
    hub.faults.bytes_per_second = 400_000
    told: list[DownloadProgress] = []

    make_source().fetch(Wanted(reference="acme/model"), told.append)

    known = [progress for progress in told if progress.bytes_total]
    done = [progress.bytes_done for progress in known]
    total = hub.size("acme/model", "model_index.json", *CONFIGURATION, *HALVES)
    assert {progress.bytes_total for progress in known} == {total}
    assert done == sorted(done)
    assert known[-1].percent == 100.0
    assert any(progress.eta_seconds and 100_000 < progress.bytes_per_second < 2_000_000 for progress in known)


@pytest.mark.slow
def test_a_bar_is_shown_where_a_person_looks(
    hub: Hub, make_source: MakeSource, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(make_source())
    assert capsys.readouterr().err == ""
    hub.folders["acme/second"] = hub.folders["acme/model"]

    fetch(make_source(bar=True), "acme/second")

    assert "acme/second: 100%" in capsys.readouterr().err


@pytest.mark.slow
def test_a_fetch_that_nobody_wants_any_more_ends_and_the_next_goes_on_where_it_was(
    hub: Hub, make_source: MakeSource, cache: Path, tmp_path: Path
) -> None:
    hub.folders["acme/model"] = write_repository(tmp_path / "large", unet_bytes=4_000_000)
    hub.faults.bytes_per_second = 2_000_000

    def until_there_is_some(progress: DownloadProgress) -> None:
        if progress.bytes_done > 500_000:
            raise FetchCancelled

    with pytest.raises(FetchCancelled):
        make_source().fetch(Wanted(reference="acme/model"), until_there_is_some)
    hub.faults.bytes_per_second = None
    left = sum(path.stat().st_size for path in cache.glob("*/blobs/*"))
    assert left < 1_500_000  # it has ended, not finished
    before = hub.total_sent

    weights = fetch(make_source())

    assert left > 500_000
    assert files_in(weights.path) >= set(HALVES)
    total = hub.size("acme/model", "model_index.json", *CONFIGURATION, *HALVES)
    assert hub.total_sent - before < total - left + 200_000  # with what was on its way to the fetch that ended


def test_importing_the_source_imports_nothing_heavy() -> None:
    check = "import sys, imagegen_server.sources.hub; print('huggingface_hub' in sys.modules, 'tqdm' in sys.modules)"

    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=30, check=True)

    assert result.stdout == "False False\n"
