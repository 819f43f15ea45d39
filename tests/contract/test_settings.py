"""Settings: read from environment and flags, written as environment, and what is said about wrong ones."""

import os
import re
from typing import Any, Literal, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from imagegen_contract.image_model import ID_PATTERN, Gpu, ImageModelSpec, Inference, Quality
from imagegen_contract.samplers import PRESETS
from imagegen_contract.server_settings import ENVIRONMENT_PREFIX, ServerSettings, read_server_settings
from imagegen_contract.settings import SettingsError, read_settings, write_environment
from imagegen_contract.validation import field_types, type_options

SPEC = '{"publisher":"acme","family":"sd","version":"1","id":"acme/one"}'


def read(environment: dict[str, str], **flags: str) -> ServerSettings:
    named = {f"{ENVIRONMENT_PREFIX}{name}": text for name, text in environment.items()}
    return read_settings(ServerSettings, ENVIRONMENT_PREFIX, {"PATH": "/bin", **named}, flags)


def problem(environment: dict[str, str], **flags: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read(environment, **flags)
    return str(caught.value)


def written(settings: ServerSettings) -> dict[str, str]:
    return write_environment(settings, ENVIRONMENT_PREFIX)


def test_nothing_set_is_the_defaults() -> None:
    assert read({}) == ServerSettings()


READ = {
    "a number is read from text": ({"PORT": "9000"}, ServerSettings(port=9000)),
    "a fraction is read from text": ({"DRAIN_SECONDS": "2.5"}, ServerSettings(drain_seconds=2.5)),
    "a switch is read from true": ({"PNG_METADATA": "true"}, ServerSettings(png_metadata=True)),
    "a switch is read from 1": ({"PNG_METADATA": "1"}, ServerSettings(png_metadata=True)),
    "a list is read from commas": ({"LOAD": "a/b, c ,"}, ServerSettings(load=("a/b", "c"))),
    "an empty list is no models": ({"LOAD": ""}, ServerSettings()),
    "text that looks like a number stays text": ({"CATALOG": "12"}, ServerSettings(catalog="12")),
    "text that looks like nothing stays text": ({"CATALOG": "null"}, ServerSettings(catalog="null")),
    "the model is read from JSON": (
        {"MODEL": SPEC},
        ServerSettings(model=ImageModelSpec(publisher="acme", family="sd", version="1", id="acme/one")),
    ),
}


@pytest.mark.parametrize(("environment", "settings"), READ.values(), ids=READ.keys())
def test_a_setting_is_read(environment: dict[str, str], settings: ServerSettings) -> None:
    assert read(environment) == settings


def test_a_flag_wins_over_the_environment() -> None:
    assert read({"PORT": "1"}, port="2").port == 2


def test_variables_of_other_programs_are_left_alone() -> None:
    environment = {"IMAGEGEN_ROUTER_PORT": "x", "PORT": "tcp://10.0.0.1"}
    assert read_settings(ServerSettings, ENVIRONMENT_PREFIX, environment, {}) == ServerSettings()


PROBLEMS = {
    "a typo is told the nearest right name": (
        {"DEVCE": "cpu"},
        "IMAGEGEN_SERVER_DEVCE: unknown setting; did you mean IMAGEGEN_SERVER_DEVICE? see docs/settings.md for all",
    ),
    "a name like no other is told where they are": (
        {"X": "1"},
        "IMAGEGEN_SERVER_X: unknown setting; see docs/settings.md for all of them",
    ),
    "a value that is not among the allowed is told them": (
        {"DEVICE": "tpu"},
        'IMAGEGEN_SERVER_DEVICE: found "tpu"; allowed: auto, cpu, cuda, mps',
    ),
    "a number out of range is told the range": (
        {"PORT": "65536"},
        'IMAGEGEN_SERVER_PORT: found "65536"; expected integer <= 65535',
    ),
    "text for a number is told so": ({"PORT": "http"}, 'IMAGEGEN_SERVER_PORT: found "http"; expected integer'),
    "a word for a switch is told the two": (
        {"PNG_METADATA": "yes"},
        'IMAGEGEN_SERVER_PNG_METADATA: found "yes"; expected true or false',
    ),
    "a password in an address is not repeated": (
        {"HUB_ENDPOINT": "https://user:word@hub.example"},
        'IMAGEGEN_SERVER_HUB_ENDPOINT: found "https://...@hub.example"; expected an address that begins with http',
    ),
    "not a number is no number": ({"DRAIN_SECONDS": "nan"}, 'IMAGEGEN_SERVER_DRAIN_SECONDS: found "nan"; expected'),
    "infinity is out of range": ({"DRAIN_SECONDS": "inf"}, 'IMAGEGEN_SERVER_DRAIN_SECONDS: found "inf"; expected'),
    "a model that is not JSON is told so": ({"MODEL": "{"}, "IMAGEGEN_SERVER_MODEL: not JSON: "),
    "a model nested without end is told so": ({"MODEL": "[" * 100_000}, "IMAGEGEN_SERVER_MODEL: not JSON: maximum"),
    "a field of the model has its path": (
        {"MODEL": SPEC.replace("}", ',"gpu":{"count":99}}')},
        "IMAGEGEN_SERVER_MODEL field gpu.count: found 99; expected integer <= 16",
    ),
    "a misspelt field of the model is told the nearest": (
        {"MODEL": SPEC.replace("}", ',"gpu":{"counts":1}}')},
        "IMAGEGEN_SERVER_MODEL field gpu.counts: unknown field; did you mean count? allowed: count, resourceName",
    ),
    "a missing field of the model is named": ({"MODEL": "{}"}, "IMAGEGEN_SERVER_MODEL field publisher: missing"),
    "bytes that are not UTF-8 are shown": ({"DEVICE": "\udcff"}, "IMAGEGEN_SERVER_DEVICE: found '\\udcff'; not UTF-8"),
}


@pytest.mark.parametrize(("environment", "message"), PROBLEMS.values(), ids=PROBLEMS.keys())
def test_a_wrong_setting(environment: dict[str, str], message: str) -> None:
    assert problem(environment).startswith(message)


def test_a_wrong_flag_is_told_by_its_variable() -> None:
    assert problem({}, port="x").startswith('IMAGEGEN_SERVER_PORT: found "x"; ')


def test_all_wrong_settings_are_told_at_once() -> None:
    lines = problem({"MODEL": "{", "PROT": "1", "DEVICE": "tpu"}, port="x").splitlines()
    assert sorted(line.split(":")[0].removeprefix(ENVIRONMENT_PREFIX) for line in lines) == [
        "DEVICE",
        "MODEL",
        "PORT",
        "PROT",
    ]


NEWER_OPERATOR = {
    "a setting": (
        {"MODEL": SPEC, "COMPILE": "true"},
        ["IMAGEGEN_SERVER_COMPILE: unknown setting; see docs/settings.md for all of them"],
    ),
    "a field of the model": (
        {"MODEL": SPEC.replace("}", ',"precision":"fp8"}')},
        ["IMAGEGEN_SERVER_MODEL field precision: unknown field; did you mean revision? allowed: publisher, "],
    ),
    "fields deep inside": (
        {
            "MODEL": SPEC.replace(
                "}", ',"gpu":{"count":1,"share":{"of":2}},"pod":{"tolerations":[{"key":"a"},{"key":"b","x":1}]}}'
            )
        },
        [
            "IMAGEGEN_SERVER_MODEL field gpu.share: unknown field; allowed: count, resourceName",
            "IMAGEGEN_SERVER_MODEL field pod.tolerations[1].x: unknown field; allowed: key, operator, ",
        ],
    ),
    "names that could be paths": (
        {"MODEL": SPEC.replace("}", ',"gpu.count":9,"inference[0]":1}')},
        [f"IMAGEGEN_SERVER_MODEL field {name}: unknown field; " for name in ("gpu.count", "inference[0]")],
    ),
}


@pytest.mark.parametrize(("environment", "told"), NEWER_OPERATOR.values(), ids=NEWER_OPERATOR.keys())
def test_a_pod_leaves_out_what_it_does_not_know_and_says_so(environment: dict[str, str], told: list[str]) -> None:
    heard: list[str] = []
    named = {f"{ENVIRONMENT_PREFIX}{name}": text for name, text in environment.items()}
    settings = read_server_settings(named, {}, heard.append)
    assert [line.startswith(start) for line, start in zip(heard, told, strict=True)] == [True] * len(told), heard
    assert settings.model is not None
    assert settings.model.id == "acme/one"


def test_a_server_alone_takes_an_unknown_name_for_a_mistake() -> None:
    heard: list[str] = []
    with pytest.raises(SettingsError, match="IMAGEGEN_SERVER_COMPILE: unknown setting"):
        read_server_settings({"IMAGEGEN_SERVER_COMPILE": "true"}, {}, heard.append)
    assert heard == []


def test_a_pod_still_refuses_a_value_that_is_wrong() -> None:
    model = SPEC.replace("}", ',"gpu":{"count":99,"x":1}}')
    with pytest.raises(
        SettingsError, match=r"^IMAGEGEN_SERVER_MODEL field gpu.count: found 99; expected integer <= 16$"
    ):
        read_server_settings({"IMAGEGEN_SERVER_MODEL": model, "IMAGEGEN_SERVER_Y": "1"}, {}, [].append)


def test_the_defaults_are_written_as_nothing_so_that_older_servers_start() -> None:
    assert written(ServerSettings()) == {}
    assert written(ServerSettings(port=9000, png_metadata=True, load=("a", "b"))) == {
        "IMAGEGEN_SERVER_PORT": "9000",
        "IMAGEGEN_SERVER_PNG_METADATA": "true",
        "IMAGEGEN_SERVER_LOAD": "a,b",
    }


def test_the_defaults_inside_the_model_are_written_as_nothing_too() -> None:
    spec = ImageModelSpec(publisher="acme", family="sd", version="1", id="acme/one", inference=Inference(max_steps=60))
    assert written(ServerSettings(model=spec)) == {
        "IMAGEGEN_SERVER_MODEL": SPEC.replace("}", ',"inference":{"maxSteps":60}}')
    }


MODEL_NAMES = st.from_regex(re.compile(ID_PATTERN, re.ASCII), fullmatch=True).map(lambda name: name[:128])
STEPS = st.integers(1, 50)
TEXT = st.text(max_size=50)
PRESET: st.SearchStrategy[Literal["euler", "ddim"]] = st.sampled_from(cast("Any", PRESETS))
INFERENCES = st.builds(
    Inference,
    steps=STEPS,
    guidance_scale=st.floats(0, 30),
    size=st.none() | st.just("512x768"),
    max_pixels=st.none() | st.integers(512 * 768, 67_108_864),
    scheduler=st.none() | PRESET,
    quality=st.none() | st.builds(Quality, low=STEPS, medium=STEPS, high=STEPS),
    negative_prompt=TEXT,
    safety_checker=st.booleans(),
)
SPECS = st.builds(
    ImageModelSpec,
    publisher=st.text(min_size=1, max_size=63),
    family=st.just("sd"),
    version=st.just("1"),
    id=st.just("acme/one"),
    aliases=st.lists(st.from_regex(r"[a-z]{1,9}", fullmatch=True), max_size=3, unique=True).map(tuple),
    description=TEXT,
    inference=INFERENCES,
    gpu=st.builds(Gpu, count=st.integers(0, 16)),
)
CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
OTHERS: dict[type[inspect.Type], st.SearchStrategy[Any]] = {
    inspect.BoolType: st.booleans(),
    inspect.NoneType: st.none(),
    inspect.StrType: st.text(CHARACTERS, max_size=50),
    inspect.VarTupleType: st.lists(MODEL_NAMES, max_size=4).map(tuple),
    inspect.StructType: SPECS,
}


def in_range(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """Return values of a field's type within its limits."""
    if isinstance(kind, inspect.LiteralType):
        return st.sampled_from(kind.values)
    if isinstance(kind, inspect.IntType):
        return st.integers(kind.ge, kind.le)
    if isinstance(kind, inspect.FloatType):
        lowest = kind.ge if kind.gt is None else kind.gt
        return st.floats(cast("float", lowest), kind.le, exclude_min=kind.gt is not None)
    if isinstance(kind, inspect.StrType) and kind.pattern:
        return st.from_regex(kind.pattern, fullmatch=True, alphabet=CHARACTERS)
    return OTHERS[type(kind)]


FIELDS = {name: st.one_of(*map(in_range, type_options(kind))) for name, kind in field_types(ServerSettings).items()}
SETTINGS = st.fixed_dictionaries({}, optional=FIELDS).map(lambda fields: ServerSettings(**fields))


@given(SETTINGS)
def test_settings_are_read_as_they_were_written(settings: ServerSettings) -> None:
    environment = write_environment(settings, ENVIRONMENT_PREFIX)
    assert read_settings(ServerSettings, ENVIRONMENT_PREFIX, environment, {}) == settings


@given(SETTINGS)
def test_what_is_written_can_stand_in_an_environment(settings: ServerSettings) -> None:
    for name, text in write_environment(settings, ENVIRONMENT_PREFIX).items():
        assert re.fullmatch(r"[A-Z_]+", name)
        assert b"\0" not in os.fsencode(text)


def test_any_struct_can_be_settings() -> None:
    class Small(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        name: str
        retries: int = 3
        tags: tuple[str, ...] = msgspec.field(default_factory=tuple)

    assert write_environment(Small("x"), "APP_") == {"APP_NAME": "x"}
    assert read_settings(Small, "APP_", {"APP_NAME": "x", "APP_TAGS": "a,b"}, {"retries": "5"}) == Small(
        "x", 5, ("a", "b")
    )
    with pytest.raises(SettingsError, match="APP_NAME: missing, and it is required"):
        read_settings(Small, "APP_", {}, {})
