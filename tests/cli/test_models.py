"""`imagegen models`: the list of a server's models, and the check of a catalog file."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from command_line import assert_failed, imagegen, terminal
from fakes import Answer, FakeImageServer
from model_states import FAILED, LOADING, SHAPES, UNLOADED

REPOSITORY = Path(__file__).parents[2]


def test_models_are_listed_with_their_state(tmp_path: Path) -> None:
    with FakeImageServer(SHAPES, LOADING, FAILED, UNLOADED) as server:
        done = imagegen(tmp_path, "models", "list", IMAGEGEN_URL=server.url)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "ID               STATE     DEVICE  MEMORY   SIZE     STEPS  SCHEDULER  DETAILS",
        "imagegen/shapes  ready     cpu     14.4 MB  256x256  8      ddim       Coloured shapes",
        "a/big            loading   -       -        -        50     -          downloading, 45 %, 2:03 left",
        "a/broken         failed    -       -        -        50     -          UnsafeWeights: unet holds only pickles",
        "a/idle           unloaded  -       -        -        50     -          -",
    ]


def test_the_details_are_wrapped_to_the_terminal(tmp_path: Path) -> None:
    long = msgspec.structs.replace(FAILED, error="the folder holds only pickles, " * 4)
    with FakeImageServer(SHAPES, long) as server:
        _, screen = terminal(tmp_path, "models", "list", "--server", server.url, columns=100).read_all()
    lines = screen.splitlines()
    assert max(map(len, lines)) <= 100
    details = lines[0].index("DETAILS")
    assert "".join(f"{line[details:]} " for line in lines[2:]).split() == f"UnsafeWeights: {long.error}".split()
    assert all(not line[:details].strip() for line in lines[3:])


def test_what_others_wrote_cannot_steer_the_terminal(tmp_path: Path) -> None:
    evil = msgspec.structs.replace(SHAPES, description="\x1b[2Jgone\nnext\r\x9bline")
    with FakeImageServer(evil) as server:
        done = imagegen(tmp_path, "models", "list", IMAGEGEN_URL=server.url)
    assert done.stdout.splitlines()[1].endswith("[2Jgone next line")


def test_json_is_the_servers_own_answer(tmp_path: Path) -> None:
    known_later = b'{"object":"list","models":[],"data":[],"of_a_later_version":[1]}'
    with FakeImageServer(answers={"/v1/models": Answer(body=known_later)}) as server:
        done = imagegen(tmp_path, "models", "list", "--json", IMAGEGEN_URL=server.url)
    assert (done.returncode, done.stdout) == (0, known_later.decode() + "\n")


@pytest.mark.slow
def test_watching_shows_the_list_anew_until_ctrl_c(tmp_path: Path) -> None:
    with FakeImageServer(UNLOADED) as server:
        watching = terminal(tmp_path, "models", "list", "--watch", "--server", server.url)
        watching.read_until("unloaded")
        server.become(msgspec.structs.replace(SHAPES, id=UNLOADED.id))
        watching.read_until("ready")
        watching.interrupt()
        code, shown = watching.read_all()
    assert (code, shown.splitlines()[-1]) == (130, "imagegen: interrupted")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["list", "--watch"], "terminal", id="watching without a terminal"),
        pytest.param(["list", "--watch", "--json"], "not allowed with", id="watching what is for programs"),
        pytest.param(["load"], "NAME", id="loading nothing"),
        pytest.param(["unload"], "NAME", id="unloading nothing"),
        pytest.param(["add"], "ID", id="adding nothing"),
    ],
)
def test_wrong_usage_ends_with_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = imagegen(tmp_path, "models", *arguments)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]


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
