"""What the Hub, the line and the disk do wrong, one fault a test: the reason, the words, and what comes after."""

import logging
import os
import shutil
import time
from pathlib import Path

import pytest

from hub_fetching import HALVES, MakeSource, fetch, refusal
from hub_folders import write_repository
from hub_server import Hub
from imagegen_contract.load_failures import LoadFailure
from imagegen_server.sources import FetchCancelled, SourceError, Wanted
from imagegen_server.sources.hub_cache import RepositoryCache
from imagegen_server.sources.hub_client import HubLimits

pytestmark = pytest.mark.slow

UNET = HALVES[2]
TOKEN = "hf_secretSECRETsecret"  # noqa: S105 - nobody's


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    """Return the path of a file with a token."""
    place = tmp_path / "token"
    place.write_text(f"{TOKEN}\n")
    return str(place)


def test_a_gated_repository_without_a_token_says_where_to_accept_and_what_to_set(
    hub: Hub, make_source: MakeSource
) -> None:
    hub.faults.gated = True

    failure = refusal(make_source())

    assert failure.reason == LoadFailure.ACCESS_DENIED
    assert "no token is set: accept the terms on https://huggingface.co/acme/model" in str(failure)
    assert "set HF_TOKEN, or the setting hub_token_file" in str(failure)
    assert len(hub.requests) == 2  # no use in trying again


def test_a_token_without_access_is_told_from_none(hub: Hub, make_source: MakeSource, token_file: str) -> None:
    hub.faults.gated = True
    hub.known.add(TOKEN)

    failure = refusal(make_source(token_file=token_file))

    assert failure.reason == LoadFailure.ACCESS_DENIED
    assert "the account of the token has no access: accept the terms on https://huggingface.co/acme/model" in str(
        failure
    )


def test_an_invalid_token_is_told_from_one_without_access(
    hub: Hub, make_source: MakeSource, token_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        failure = refusal(make_source(token_file=token_file))

    assert failure.reason == LoadFailure.ACCESS_DENIED
    assert "it is invalid or has expired" in str(failure)
    assert TOKEN in {token for _, _, token in hub.requests}
    assert TOKEN not in str(failure) + caplog.text


def test_a_token_with_access_is_sent_to_the_hub_and_not_to_its_storage(
    hub: Hub, make_source: MakeSource, token_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    hub.faults.gated = hub.faults.private = True
    hub.accepted.add(TOKEN)

    with caplog.at_level(logging.DEBUG):
        fetch(make_source(token_file=token_file))

    from_storage = {token for _, path, token in hub.requests if path.startswith("/storage")}
    from_hub = {token for _, path, token in hub.requests if not path.startswith("/storage")}
    assert (from_hub, from_storage) == ({TOKEN}, {""})
    assert TOKEN not in caplog.text
    assert "secret-signature" not in caplog.text


def test_the_token_of_the_environment_is_used(
    hub: Hub, make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.faults.gated = True
    hub.accepted.add(TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    fetch(make_source())

    assert TOKEN in {token for _, _, token in hub.requests}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file"),
        ("\n", "is empty"),
        ("hf_\u00fcber", "no HTTP header"),
        ("a\nb", "no HTTP header"),
    ],
    ids=["missing", "empty", "not ASCII", "two lines"],
)
def test_a_token_file_that_holds_no_token_is_refused(
    hub: Hub, make_source: MakeSource, tmp_path: Path, content: str | None, words: str
) -> None:
    place = tmp_path / "broken-token"
    if content is not None:
        place.write_text(content)

    failure = refusal(make_source(token_file=str(place)))

    assert failure.reason == LoadFailure.ACCESS_DENIED
    assert words in str(failure)
    assert not content or content.strip() == "" or content not in str(failure)
    assert not hub.requests


@pytest.mark.parametrize("with_token", [False, True])
def test_a_repository_that_does_not_exist(hub: Hub, make_source: MakeSource, token_file: str, with_token: bool) -> None:
    hub.known.add(TOKEN)

    failure = refusal(make_source(token_file=token_file if with_token else ""), "acme/modle")

    assert failure.reason == LoadFailure.WEIGHTS_NOT_FOUND
    assert f"hf://acme/modle: the Hub at {hub.url.removeprefix('http://')} has no such repository" in str(failure)
    assert ("set HF_TOKEN" in str(failure)) is not with_token


def test_a_revision_that_does_not_exist(make_source: MakeSource) -> None:
    failure = refusal(make_source(), revision="v9")

    assert failure.reason == LoadFailure.WEIGHTS_NOT_FOUND
    assert "hf://acme/model has no revision 'v9'" in str(failure)


def test_a_few_errors_of_the_hub_are_sat_out(hub: Hub, make_source: MakeSource) -> None:
    hub.faults.refuse(500, times=2)

    fetch(make_source())

    assert not hub.faults.refusals


@pytest.mark.parametrize("status", [500, 502, 503])
def test_lasting_errors_of_the_hub_are_shown(hub: Hub, make_source: MakeSource, status: int) -> None:
    hub.faults.refuse(status, times=99)

    failure = refusal(make_source())

    assert failure.reason == LoadFailure.HUB_ERROR
    assert f"answers {status}; try again later" in str(failure)
    assert len(hub.requests) == 3


def test_too_many_requests_waits_as_long_as_the_hub_says(hub: Hub, make_source: MakeSource) -> None:
    hub.faults.refuse(429, retry_after="1")
    began = time.monotonic()

    fetch(make_source())

    assert time.monotonic() - began >= 1


def test_too_many_requests_for_long_is_an_error_at_once(hub: Hub, make_source: MakeSource) -> None:
    hub.faults.refuse(429, retry_after="3600")
    began = time.monotonic()

    failure = refusal(make_source())

    assert failure.reason == LoadFailure.HUB_ERROR
    assert "asks to wait 3600 s" in str(failure)
    assert time.monotonic() - began < 5


def test_an_answer_that_is_no_hubs(hub: Hub, make_source: MakeSource) -> None:
    hub.faults.garbage = True

    failure = refusal(make_source())

    assert failure.reason == LoadFailure.HUB_ERROR
    assert "does not speak its protocol" in str(failure)


@pytest.mark.parametrize(
    "sibling",
    [
        {"rfilename": "../../x.json", "size": 1, "blobId": "0" * 40},
        {"rfilename": "x.json", "size": 1, "blobId": "../../../x"},
        {"rfilename": "x.json", "size": -1, "blobId": "0" * 40},
        {"size": 1},
    ],
    ids=["path", "checksum", "size", "name"],
)
def test_a_listing_that_leads_elsewhere_is_refused(
    hub: Hub, make_source: MakeSource, cache: Path, sibling: dict[str, object]
) -> None:
    hub.metadata["acme/model"] = {"siblings": [sibling]}

    failure = refusal(make_source())

    assert failure.reason == LoadFailure.HUB_ERROR
    assert not cache.exists()


@pytest.mark.parametrize("gated", [False, True])
def test_a_listing_without_checksums_is_refused_unless_there_is_a_better_reason(
    hub: Hub, make_source: MakeSource, gated: bool
) -> None:
    repository = hub.repository("acme/model")
    assert repository is not None
    hub.metadata["acme/model"] = {"siblings": [{"rfilename": path} for path in repository.files]}
    hub.faults.gated = gated

    failure = refusal(make_source())

    assert failure.reason == (LoadFailure.ACCESS_DENIED if gated else LoadFailure.HUB_ERROR)
    assert ("announces no size or no checksum" in str(failure)) is not gated


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://no-such-host.invalid"], ids=["refused", "no name"])
def test_no_way_to_the_hub(make_source: MakeSource, endpoint: str) -> None:
    failure = refusal(make_source(endpoint=endpoint))

    assert failure.reason == LoadFailure.HUB_UNREACHABLE
    assert f"the Hub at {endpoint.removeprefix('http://')} cannot be reached" in str(failure)


def test_a_stalled_line_is_given_up_in_time_and_the_next_try_goes_on(hub: Hub, make_source: MakeSource) -> None:
    hub.faults.stall_at = 65536
    began = time.monotonic()

    failure = refusal(make_source())

    assert failure.reason == LoadFailure.HUB_UNREACHABLE
    assert "nothing came for 0.5 s" in str(failure)
    assert time.monotonic() - began < 20
    hub.faults.stall_at = None
    before = hub.bytes_sent[f"acme/model/{UNET}"]
    fetch(make_source())
    assert 0 < hub.bytes_sent[f"acme/model/{UNET}"] - before <= hub.size("acme/model", UNET) - 65536


def test_a_fetch_is_cancelled_while_its_line_stalls(hub: Hub, make_source: MakeSource) -> None:
    hub.faults.stall_at = 65536

    def cancel(_: object) -> None:
        raise FetchCancelled

    with pytest.raises(FetchCancelled):
        make_source(HubLimits(read_timeout=2.0)).fetch(Wanted(reference="acme/model"), cancel)


def test_connections_that_are_reset_are_taken_up_again(hub: Hub, make_source: MakeSource) -> None:
    hub.faults.reset_at, hub.faults.resets = 65536, 3

    fetch(make_source())

    assert hub.faults.resets == 0
    assert hub.bytes_sent[f"acme/model/{UNET}"] < 1.5 * hub.size("acme/model", UNET)


def test_bodies_that_end_too_early_are_taken_up_again(hub: Hub, make_source: MakeSource) -> None:
    hub.faults.truncate_at = 65536

    weights = fetch(make_source())

    assert (weights.path / UNET).stat().st_size == hub.size("acme/model", UNET)


def test_bodies_that_never_begin_are_an_error(hub: Hub, make_source: MakeSource) -> None:
    hub.faults.truncate_at = 0

    assert refusal(make_source()).reason == LoadFailure.HUB_UNREACHABLE


def test_a_storage_that_sends_all_of_it_again_is_understood(hub: Hub, make_source: MakeSource) -> None:
    hub.faults.reset_at, hub.faults.resets, hub.faults.ignore_ranges = 65536, 1, True

    weights = fetch(make_source())

    assert (weights.path / UNET).read_bytes() == (hub.folders["acme/model"] / UNET).read_bytes()


def test_a_corrupt_download_is_removed_and_comes_right_the_next_time(
    hub: Hub, make_source: MakeSource, cache: Path
) -> None:
    hub.faults.corrupt.add(UNET)

    failure = refusal(make_source())

    assert failure.reason == LoadFailure.CHECKSUM_MISMATCH
    assert f"hf://acme/model/{UNET}" in str(failure)
    size = hub.size("acme/model", UNET)
    assert size not in {path.stat().st_size for path in cache.rglob("*")}
    hub.faults.corrupt.clear()
    weights = fetch(make_source())
    assert (weights.path / UNET).read_bytes() == (hub.folders["acme/model"] / UNET).read_bytes()


def test_a_file_that_is_longer_than_announced_is_corrupt(hub: Hub, make_source: MakeSource, cache: Path) -> None:
    repository = hub.repository("acme/model")
    assert repository is not None
    siblings = [file.as_sibling() for file in repository.files.values()]
    for sibling in siblings:
        if sibling["rfilename"] == UNET:
            sibling["lfs"]["size"] -= 1
    hub.metadata["acme/model"] = {"siblings": siblings}

    failure = refusal(make_source())

    assert failure.reason == LoadFailure.CHECKSUM_MISMATCH
    assert not [
        path for path in cache.glob("*/blobs/*.incomplete") if path.stat().st_size > hub.size("acme/model", UNET) / 2
    ]


def test_a_small_file_is_checked_too(hub: Hub, make_source: MakeSource) -> None:
    hub.faults.corrupt.add("unet/config.json")

    assert refusal(make_source()).reason == LoadFailure.CHECKSUM_MISMATCH


def test_a_file_of_the_cache_that_has_changed_is_fetched_again(hub: Hub, make_source: MakeSource) -> None:
    weights = fetch(make_source())
    _spoil(weights.path / UNET)

    again = fetch(make_source(), revision=weights.revision)

    assert (again.path / UNET).read_bytes() == (hub.folders["acme/model"] / UNET).read_bytes()


def test_offline_a_file_of_the_cache_that_has_changed_is_removed_and_reported(make_source: MakeSource) -> None:
    weights = fetch(make_source())
    blob = (weights.path / UNET).resolve()
    _spoil(blob)

    failure = refusal(make_source(offline=True))

    assert failure.reason == LoadFailure.CHECKSUM_MISMATCH
    assert not blob.exists()


def test_what_was_checked_once_is_not_read_again(make_source: MakeSource) -> None:
    weights = fetch(make_source())
    blob = (weights.path / UNET).resolve()
    stat = blob.stat()
    _spoil(blob)
    os.utime(blob, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    spoilt = blob.read_bytes()

    assert fetch(make_source()) == weights
    assert blob.read_bytes() == spoilt  # nobody has looked


def test_a_full_disk_is_told_before_the_first_byte(make_source: MakeSource, cache: Path) -> None:
    fetch(make_source())
    free = shutil.disk_usage(cache).free

    with pytest.raises(SourceError) as failure:
        RepositoryCache(cache, "acme/model").prepare(free, 10**6)

    assert failure.value.reason == LoadFailure.DISK_FULL
    assert f"the download needs {free / 1e6:.1f} MB and 1.0 MB to spare" in str(failure.value)
    assert f"are free in {cache}; make room there, or set hub_cache" in str(failure.value)


def test_a_disk_that_fills_up_meanwhile(hub: Hub, make_source: MakeSource, cache: Path) -> None:
    repository = hub.repository("acme/model")
    assert repository is not None
    partial = cache / "models--acme--model" / "blobs" / f"{repository.files[UNET].sha256}.incomplete"
    partial.parent.mkdir(parents=True)
    partial.symlink_to("/dev/full")  # what is written there gets ENOSPC

    failure = refusal(make_source())

    assert failure.reason == LoadFailure.DISK_FULL
    assert f"the cache {cache} is full; make room" in str(failure)


def test_a_cache_that_cannot_be_written_to(make_source: MakeSource, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    failure = refusal(make_source(cache=str(tmp_path / "file" / "cache")))

    assert failure.reason == LoadFailure.DISK_FULL
    assert "cannot be written to: Not a directory" in str(failure)
    assert "set hub_cache to another place" in str(failure)


def test_repositories_of_the_same_files_are_kept_apart(hub: Hub, make_source: MakeSource, tmp_path: Path) -> None:
    hub.folders["acme/other"] = write_repository(tmp_path / "other", variants=("",))

    assert fetch(make_source(), "acme/other").variant == ""
    assert fetch(make_source()).variant == "fp16"


def _spoil(place: Path) -> None:
    """Change one byte in the middle of a file and leave its size."""
    with place.open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)
        file.seek(1000)
        file.write(bytes([byte[0] ^ 1]))
