"""`imagegen models add`: what is asked of a Hub, what goes into the catalog, and what people read when it cannot."""

import json
import struct
from pathlib import Path

import pytest

from command_line import assert_failed, imagegen, imagegen_here
from fakes import Answer, FakeImageServer
from hub_answers import COMMIT, TURBO, hub_answers, hub_refusal
from imagegen_contract.catalog import load_catalog

Here = pytest.CaptureFixture[str]

HUB_KEY = "hf_known_to_nobody_else"


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder, with a token so that the one of the person who runs the tests is not looked for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", HUB_KEY)


def test_a_model_is_added_to_a_new_catalog(capsys: Here, tmp_path: Path) -> None:
    with FakeImageServer(answers=hub_answers()) as server:
        done = imagegen_here(capsys, "models", "add", "stabilityai/sdxl-turbo", "--endpoint", server.url)
    assert (done.returncode, done.stderr) == (0, "")
    entry = json.loads((tmp_path / "models_info.json").read_text())[0]
    assert entry == {
        "publisher": "stabilityai",
        "family": "sdxl",
        "version": "turbo",
        "id": "stabilityai/sdxl-turbo",
        "aliases": ["sdxl-turbo"],
        "license": "sai-nc-community",
        "source": "hf://stabilityai/sdxl-turbo",
        "revision": COMMIT,
        "inference": {"steps": 1, "maxSteps": 4, "guidanceScale": 0.0, "maxGuidanceScale": 1.0, "size": "512x512"},
    }
    assert json.loads(done.stdout.partition("\n- ")[0]) == entry
    assert done.stdout.splitlines()[-3:] == [
        "models_info.json: stabilityai/sdxl-turbo added to a new file",
        "next: imagegen-server --load stabilityai/sdxl-turbo --default-model stabilityai/sdxl-turbo",
        "      or, where a server runs with this file: imagegen models load stabilityai/sdxl-turbo",
    ]


def test_the_entry_is_close_to_the_one_that_ships(capsys: Here, repository: Path, tmp_path: Path) -> None:
    shipped = next(
        spec for spec in load_catalog(repository / "models_info.json") if spec.id == "stabilityai/sdxl-turbo"
    )
    with FakeImageServer(answers=hub_answers()) as server:
        imagegen_here(capsys, "models", "add", shipped.id, "--endpoint", server.url)
    added = load_catalog(tmp_path / "models_info.json")[0]
    same = ("publisher", "family", "version", "id", "aliases", "license", "weights", "default_size")
    assert [name for name in same if getattr(added, name) != getattr(shipped, name)] == []
    facts = ("steps", "max_steps", "guidance_scale", "max_guidance_scale")
    assert [name for name in facts if getattr(added.inference, name) != getattr(shipped.inference, name)] == []


def test_the_catalog_that_ships_takes_another_model(capsys: Here, repository: Path, tmp_path: Path) -> None:
    before = (repository / "models_info.json").read_text()
    mine = tmp_path / "my models.json"
    mine.write_text(before)
    with FakeImageServer(answers=hub_answers("acme/night-xl")) as server:
        done = imagegen_here(capsys, "models", "add", "acme/night-xl", "--endpoint", server.url, "--catalog", str(mine))
    after = mine.read_text()
    assert after.startswith(before.rstrip().removesuffix("]").rstrip() + ",\n  {\n    ")
    assert after.endswith("\n  }\n]\n")
    assert [spec.id for spec in load_catalog(mine)][-1] == "acme/night-xl"
    assert f"next: imagegen-server --load acme/night-xl --catalog '{mine}'\n" in done.stdout


def test_a_dry_run_writes_nothing(capsys: Here, tmp_path: Path) -> None:
    with FakeImageServer(answers=hub_answers()) as server:
        done = imagegen_here(capsys, "models", "add", "stabilityai/sdxl-turbo", "--endpoint", server.url, "--dry-run")
    assert (done.returncode, list(tmp_path.iterdir())) == (0, [])
    assert '"id": "stabilityai/sdxl-turbo"' in done.stdout
    assert done.stdout.splitlines()[-1].startswith("nothing was written")


def test_only_small_files_of_one_commit_are_read(capsys: Here) -> None:
    with FakeImageServer(answers=hub_answers(revision="v1.0")) as server:
        done = imagegen_here(
            capsys, "models", "add", f"{server.url}/stabilityai/sdxl-turbo/tree/v1.0", "--endpoint", server.url
        )
        assert done.returncode == 0, done.stderr
    files = ("model_index.json", "scheduler/scheduler_config.json", "unet/config.json")
    assert [request.path for request in server.received] == [
        "/api/models/stabilityai/sdxl-turbo/revision/v1.0",
        *(f"/stabilityai/sdxl-turbo/resolve/{COMMIT}/{file}" for file in files),
    ]
    assert {request.headers["authorization"] for request in server.received} == {f"Bearer {HUB_KEY}"}


def test_the_id_is_spelled_as_the_hub_spells_it(capsys: Here, tmp_path: Path) -> None:
    with FakeImageServer(answers=hub_answers(asked_as="StabilityAI/SDXL-Turbo")) as server:
        imagegen_here(capsys, "models", "add", "StabilityAI/SDXL-Turbo", "--endpoint", server.url)
    assert load_catalog(tmp_path / "models_info.json")[0].id == "stabilityai/sdxl-turbo"


def header(**shapes: list[int]) -> bytes:
    """Return a safetensors file of tensors without content; dots in names stand as ``__``."""
    tensors = {
        name.replace("__", "."): {"dtype": "F16", "shape": shape, "data_offsets": [0, 0]}
        for name, shape in shapes.items()
    }
    content = json.dumps(tensors).encode()
    return struct.pack("<Q", len(content)) + content


def test_a_checkpoint_in_a_repository_is_added(capsys: Here, tmp_path: Path) -> None:
    checkpoint = header(
        model__diffusion_model__input_blocks__0__0__weight=[320, 4, 3, 3],
        first_stage_model__decoder=[1],
        cond_stage_model__transformer=[1],
    )
    files = {"night-v2.safetensors": checkpoint, "README.md": "x"}
    with FakeImageServer(answers=hub_answers("acme/night", files, cardData=None, tags=["license:openrail"])) as server:
        done = imagegen_here(
            capsys, "models", "add", "hf://acme/night/night-v2.safetensors", "--endpoint", server.url, "--alias", "n2"
        )
    assert done.returncode == 0, done.stderr
    spec = load_catalog(tmp_path / "models_info.json")[0]
    assert (spec.id, spec.aliases, spec.source) == (
        "acme/night-v2",
        ("night-v2", "n2"),
        "hf://acme/night/night-v2.safetensors",
    )
    assert (spec.family, spec.license, spec.revision) == ("stable-diffusion", "openrail", COMMIT)


OTHER = '[{"publisher": "o", "family": "f", "version": "1", "id": "o/m", "aliases": ["sdxl-turbo"]}]'


def test_an_alias_that_was_only_guessed_gives_way(capsys: Here, tmp_path: Path) -> None:
    (tmp_path / "models_info.json").write_text(OTHER)
    with FakeImageServer(answers=hub_answers()) as server:
        done = imagegen_here(
            capsys, "models", "add", "stabilityai/sdxl-turbo", "--endpoint", server.url, "--alias", "turbo"
        )
    assert load_catalog(tmp_path / "models_info.json")[1].aliases == ("turbo",)
    assert "- the alias sdxl-turbo is a name of o/m already, so it was left out" in done.stdout


@pytest.mark.parametrize(
    ("catalog", "arguments", "said"),
    [
        pytest.param(OTHER, ["--alias", "o/m"], "the alias o/m is a name of o/m already", id="alias taken"),
        pytest.param(OTHER, ["--alias", "a b"], "field aliases[0]", id="an alias that can be none"),
        pytest.param(
            OTHER.replace("o/m", "stabilityai/sdxl-turbo").replace('["sdxl-turbo"]', "[]"),
            [],
            "stabilityai/sdxl-turbo is an entry of the catalog already",
            id="id taken",
        ),
        pytest.param(
            OTHER.replace('"sdxl-turbo"', '"stabilityai/sdxl-turbo"'),
            [],
            "stabilityai/sdxl-turbo is an alias of o/m",
            id="id is an alias",
        ),
        pytest.param("[{}]", [], "models_info.json is broken, so nothing is added", id="broken catalog"),
    ],
)
def test_a_catalog_that_cannot_take_it_stays_as_it_is(
    capsys: Here, tmp_path: Path, catalog: str, arguments: list[str], said: str
) -> None:
    (tmp_path / "models_info.json").write_text(catalog)
    with FakeImageServer(answers=hub_answers()) as server:
        done = imagegen_here(capsys, "models", "add", "stabilityai/sdxl-turbo", "--endpoint", server.url, *arguments)
    assert_failed(done, said)
    assert (tmp_path / "models_info.json").read_text() == catalog
    assert [path.name for path in tmp_path.iterdir()] == ["models_info.json"]


API = "/api/models/a/b"


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        pytest.param(
            hub_refusal("a/b", 404, "RepoNotFound"), ["a/b does not exist at", "or it is private"], id="no repository"
        ),
        pytest.param(hub_refusal("a/b", 404, "RevisionNotFound"), ["a/b has no revision 'main'"], id="no revision"),
        pytest.param(
            hub_refusal("a/b", 403, "GatedRepo"),
            ["a/b is gated", "https://huggingface.co/a/b", "has no access yet"],
            id="gated",
        ),
        pytest.param(
            hub_refusal("a/b", 401, message="Invalid credentials in Authorization header"),
            ["token", "HF_TOKEN"],
            id="bad token",
        ),
        pytest.param(
            hub_refusal("a/b", 403, message="Access to this resource is disabled."), ["switched a/b off"], id="disabled"
        ),
        pytest.param(hub_refusal("a/b", 429), ["too many requests"], id="too many requests"),
        pytest.param(hub_refusal("a/b", 502), ["the Hub answered 502 for a/b"], id="server error"),
        pytest.param({API: Answer(body=b"<html>")}, ["does not speak the Hub's protocol"], id="something else"),
        pytest.param({API: Answer(body=b"[]")}, ["does not speak the Hub's protocol"], id="other JSON"),
        pytest.param({API: Answer(body=b'{"id":"a/b"}')}, ["does not speak the Hub's protocol"], id="no commit"),
        pytest.param(
            hub_answers("a/b", {"README.md": "", "night.safetensors": ""}),
            ["no model_index.json; its single files: a/b/night.safetensors"],
            id="no pipeline, but a checkpoint",
        ),
        pytest.param(
            hub_answers("a/b", {**TURBO, "model_index.json": b"{"}),
            ["model_index.json of a/b is broken"],
            id="broken index",
        ),
        pytest.param(
            hub_answers("a/b", {**TURBO, "model_index.json": {"_class_name": "FluxPipeline"}}),
            ["FluxPipeline, which is not supported; supported: StableDiffusionPipeline"],
            id="unsupported pipeline",
        ),
    ],
)
def test_what_the_hub_does_not_give_is_said_in_words(
    capsys: Here, tmp_path: Path, answers: dict[str, Answer], said: list[str]
) -> None:
    with FakeImageServer(answers=answers) as server:
        done = imagegen_here(capsys, "models", "add", "a/b", "--endpoint", server.url)
    assert_failed(done, *said)
    assert HUB_KEY not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param("other.safetensors", "has no file other.safetensors; its single files: a/b/night", id="missing"),
        pytest.param("night.safetensors", "night.safetensors of a/b is no safetensors file", id="not safetensors"),
    ],
)
def test_a_checkpoint_that_is_none_is_refused(capsys: Here, name: str, said: str) -> None:
    with FakeImageServer(answers=hub_answers("a/b", {"night.safetensors": b"\xff" * 100})) as server:
        assert_failed(imagegen_here(capsys, "models", "add", f"a/b/{name}", "--endpoint", server.url), said)


def test_an_id_that_is_none_is_wrong_usage(capsys: Here) -> None:
    assert_failed(imagegen_here(capsys, "models", "add", "gpt2"), "owner/name", code=2)


def test_a_hub_that_is_away_is_named(capsys: Here) -> None:
    with FakeImageServer() as server:
        pass
    done = imagegen_here(capsys, "models", "add", "a/b", "--endpoint", server.url)
    assert_failed(done, server.url, "cannot be reached", "--endpoint")


def test_a_token_that_can_be_none_is_never_shown(capsys: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", f"{HUB_KEY}\u00e9")
    done = imagegen_here(capsys, "models", "add", "a/b", "--endpoint", "http://127.0.0.1:9")
    assert_failed(done, "token", "HF_TOKEN")
    assert HUB_KEY not in done.stdout + done.stderr


def test_a_gated_model_without_a_token_says_what_to_do(tmp_path: Path) -> None:
    with FakeImageServer(answers=hub_answers(gated="manual")) as server:
        done = imagegen(
            tmp_path, "models", "add", "stabilityai/sdxl-turbo", HF_ENDPOINT=server.url, HF_HOME=str(tmp_path / "home")
        )
    assert_failed(done, "accept its terms at https://huggingface.co/stabilityai/sdxl-turbo; then set HF_TOKEN")
    assert [request.path for request in server.received] == ["/api/models/stabilityai/sdxl-turbo"]


@pytest.mark.slow
def test_without_its_library_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "huggingface_hub.py").write_text("raise ModuleNotFoundError(\"No module named 'huggingface_hub'\")")
    done = imagegen(tmp_path, "models", "add", "a/b", PYTHONPATH=str(tmp_path))
    assert_failed(done, "needs huggingface_hub", "pip install 'imagegen[server]'")


@pytest.mark.slow
def test_offline_it_says_so(tmp_path: Path) -> None:
    done = imagegen(tmp_path, "models", "add", "a/b", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "home"))
    assert_failed(done, "HF_HUB_OFFLINE")
