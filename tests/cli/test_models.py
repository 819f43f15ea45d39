"""`imagegen models`: the list of a server's models, and the check of a catalog file."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from command_line import assert_failed, imagegen
from fakes import FakeImageServer
from imagegen_contract.images import ModelInfo

REPOSITORY = Path(__file__).parents[2]

SHAPES = ModelInfo(
    id="imagegen/shapes",
    created=1,
    owned_by="imagegen",
    publisher="imagegen",
    family="shapes",
    version="1",
    aliases=("shapes",),
    description="Coloured shapes",
    license="Apache-2.0",
    state="ready",
    device="cpu",
    dtype="float32",
    size="256x256",
    native_size="128x128",
    sizes=("128x128", "256x256"),
    steps=8,
    guidance_scale=3.0,
    scheduler="ddim",
    schedulers=("ddim",),
    limits=None,
    error=None,
)


def test_models_are_listed_in_aligned_columns(tmp_path: Path) -> None:
    broken = msgspec.structs.replace(
        SHAPES, id="a/b", state="failed", size=None, scheduler=None, steps=50, error="out of memory"
    )
    with FakeImageServer(SHAPES, broken) as server:
        done = imagegen(tmp_path, "models", "list", IMAGEGEN_URL=server.url)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "ID               STATE   SIZE     STEPS  SCHEDULER  DESCRIPTION",
        "imagegen/shapes  ready   256x256  8      ddim       Coloured shapes",
        "a/b              failed  -        50     -          out of memory",
    ]


def entry(**changes: Any) -> dict[str, Any]:
    """Return a right entry, with ``changes``."""
    return {"publisher": "p", "family": "f", "version": "1", "id": "p/m", **changes}


def test_the_catalog_that_ships_is_fine(tmp_path: Path) -> None:
    shipped = REPOSITORY / "models_info.json"
    done = imagegen(tmp_path, "models", "check", str(shipped))
    count = len(json.loads(shipped.read_text()))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{shipped}: {count} entries, no problems\n", "")


@pytest.mark.parametrize(
    ("content", "problems"),
    [
        pytest.param(json.dumps([entry(gpus=1)]), ["gpus"], id="unknown field"),
        pytest.param(
            json.dumps([entry(replicas=-1), entry(id="a b")]), ["replicas", "a b"], id="a line for each problem"
        ),
        pytest.param(json.dumps([entry(), entry()]), ["p/m"], id="one id twice"),
        pytest.param("[", ["not JSON"], id="not JSON"),
        pytest.param("{}", ["list"], id="not a list"),
        pytest.param(None, ["cannot be read"], id="no file"),
    ],
)
def test_every_problem_of_a_catalog_is_named(tmp_path: Path, content: str | None, problems: list[str]) -> None:
    if content is not None:
        (tmp_path / "models.json").write_text(content)
    done = imagegen(tmp_path, "models", "check", "models.json")
    assert_failed(done, f"models.json has {len(problems)} problem")
    lines = done.stdout.splitlines()
    assert all(said in line for said, line in zip(problems, lines, strict=True)), lines


def test_a_catalog_is_checked_without_a_server(tmp_path: Path) -> None:
    (tmp_path / "models.json").write_text(json.dumps([entry()]))
    done = imagegen(tmp_path, "models", "check", "models.json", IMAGEGEN_URL="nonsense", IMAGEGEN_API_KEY="\n\u00e9")
    assert (done.returncode, done.stdout) == (0, "models.json: 1 entry, no problems\n")
