"""Every file that people edit is read alike: the same bytes are text, the same faults have the same words."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import imagegen_here
from conftest import Show
from imagegen_contract.api_keys import KeysError, load_keys, new_key, parse_keys
from imagegen_contract.catalog import CatalogError, load_catalog
from imagegen_contract.server_settings import ENVIRONMENT_PREFIX, ServerSettings
from imagegen_contract.settings import SettingsError, read_settings
from imagegen_router.discovery.static import StaticList, parse_endpoint
from imagegen_router.keys import Keys
from imagegen_server.catalog_file import CatalogFile

Reads = Callable[[Path, pytest.CaptureFixture[str]], str]
"""Reads a file; returns what it says is wrong with it, "" when all is well."""

ENTRY = '{"publisher": "acme", "family": "sd", "version": "1", "id": "acme/one"}'
KEY = json.dumps({"id": "0123456789", "name": "alice", "sha256": "0" * 64})
LINES = {
    "catalog": ["[", f"  {ENTRY}", "]"],
    "keys": ["[", f"  {KEY}", "]"],
    "list": ["acme/one=http://10.0.0.1:80", ""],
}


def _catalog(file: Path, _: pytest.CaptureFixture[str]) -> str:
    try:
        assert [spec.id for spec in load_catalog(file)] == ["acme/one"]
    except CatalogError as error:
        return str(error)
    return ""


def _keys(file: Path, _: pytest.CaptureFixture[str]) -> str:
    try:
        assert [key.name for key in load_keys(file)] == ["alice"]
    except KeysError as error:
        return str(error)
    return ""


def _nobody(models: object, addresses: object) -> None:
    """Take a list for nobody."""
    del models, addresses


def _list(file: Path, _: pytest.CaptureFixture[str]) -> str:
    try:
        StaticList((), str(file), _nobody)
    except SettingsError as error:
        return str(error)
    return ""


def _command(*arguments: str) -> Reads:
    def read(file: Path, capsys: pytest.CaptureFixture[str]) -> str:
        done = imagegen_here(capsys, *(str(file) if each == "FILE" else each for each in arguments))
        return done.stdout + done.stderr if done.returncode else ""

    return read


READERS: dict[str, tuple[str, Reads]] = {
    "the server's catalog": ("catalog", _catalog),
    "the router's keys": ("keys", _keys),
    "the router's list": ("list", _list),
    "models check": ("catalog", _command("models", "check", "FILE")),
    "models to-crd": ("catalog", _command("models", "to-crd", "FILE")),
    "keys list": ("keys", _command("keys", "list", "--file", "FILE")),
    "keys revoke": ("keys", _command("keys", "revoke", "--file", "FILE", "0123456789")),
    "keys secret": ("keys", _command("keys", "secret", "--file", "FILE")),
}
JSON_READERS = {name: reader for name, reader in READERS.items() if reader[0] != "list"}

KINDS = pytest.mark.parametrize(("kind", "reads"), READERS.values(), ids=READERS)
JSON_KINDS = pytest.mark.parametrize(("kind", "reads"), JSON_READERS.values(), ids=JSON_READERS)
Capture = pytest.CaptureFixture[str]


@KINDS
def test_line_ends_spaces_and_a_byte_order_mark_change_nothing(
    tmp_path: Path, capsys: Capture, kind: str, reads: Reads
) -> None:
    for end in ("\n", "\r\n", "\r"):
        for mark in (b"", b"\xef\xbb\xbf"):
            file = tmp_path / "file"
            file.write_bytes(mark + "".join(f"\t {line} \t{end}" for line in LINES[kind]).encode())
            assert reads(file, capsys) == ""


@pytest.mark.acceptance
@KINDS
def test_what_is_no_utf8_is_refused_by_name(
    tmp_path: Path, capsys: Capture, kind: str, reads: Reads, show: Show
) -> None:
    file = tmp_path / "file"
    text = "\n".join(LINES[kind])
    file.write_bytes(text.encode("utf-16"))
    assert f"{file}: found UTF-16; allowed: UTF-8" in reads(file, capsys)
    file.write_bytes(text.replace("e", "\xe9").encode("latin-1"))
    assert "the byte 0xe9 is not UTF-8; allowed: UTF-8" in reads(file, capsys)
    file.write_bytes(text.replace("\n", "\0").encode())
    assert "found a NUL byte; allowed: text" in reads(file, capsys)
    show("14.1 fault 8: files that people edit", f"{kind}: UTF-16 and bytes that are no UTF-8 refused by name")


@KINDS
def test_a_file_that_cannot_be_read_is_named_in_words(tmp_path: Path, capsys: Capture, kind: str, reads: Reads) -> None:
    del kind
    assert f"{tmp_path}: cannot be read: Is a directory; allowed: a file" in reads(tmp_path, capsys)
    said = reads(tmp_path / "none", capsys)
    assert f"{tmp_path / 'none'}: cannot be read: No such file or directory" in said
    assert "Errno" not in said


@JSON_KINDS
def test_faults_of_json_have_a_place_and_words(tmp_path: Path, capsys: Capture, kind: str, reads: Reads) -> None:
    file = tmp_path / "file"
    first, entry, last = LINES[kind]
    file.write_text(f"{first}\n{entry},\n{last}\n")
    assert f"{file}: not JSON: line 3, column 1: found ] after a comma" in reads(file, capsys)
    file.write_text(f"{first} // all\n{entry}\n{last}\n")
    assert f"{file}: not JSON: line 1, column 3: found a comment, //; JSON has none" in reads(file, capsys)
    file.write_text(f"{first}\n{entry[:-1]}, {entry.strip()[1:]}\n{last}\n")
    assert ": stands there more than once; allowed: once" in reads(file, capsys)
    file.write_text("")
    assert f"{file}: found an empty file" in reads(file, capsys)


@pytest.mark.parametrize("content", ["[\n1,]", '[{"id": "a/b", "id": "a/b"}]', "'x'"])
def test_nothing_is_added_to_a_file_that_is_wrong(tmp_path: Path, capsys: Capture, content: str) -> None:
    file = tmp_path / "file"
    file.write_text(content)
    for command in (["models", "add", "a/b", "--catalog", str(file)], ["keys", "add", "--file", str(file), "alice"]):
        done = imagegen_here(capsys, *command)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert file.read_text() == content


def test_a_key_goes_into_a_file_that_is_empty_or_not_there(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "empty").touch()
    for file in (tmp_path / "empty", tmp_path / "new"):
        assert imagegen_here(capsys, "keys", "add", "--file", str(file), "alice").returncode == 0
        assert [key.name for key in load_keys(file)] == ["alice"]


VARIABLES = {
    "a place": ('{"publisher": "a",}', "not JSON: line 1, column 19: found } after a comma"),
    "a comment": ('{} # "x"', "not JSON: line 1, column 4: found a comment, #; JSON has none"),
    "a name twice": (f'{ENTRY[:-1]}, "id": "acme/two"}}', "field id: stands there more than once; allowed: once"),
    "nothing": ("", "found an empty text"),
}


@pytest.mark.parametrize(("text", "words"), VARIABLES.values(), ids=VARIABLES)
def test_json_of_a_variable_is_read_like_a_file(text: str, words: str) -> None:
    environment = {f"{ENVIRONMENT_PREFIX}MODEL": text}
    with pytest.raises(SettingsError) as caught:
        read_settings(ServerSettings, ENVIRONMENT_PREFIX, environment, {})
    assert str(caught.value).startswith(f"IMAGEGEN_SERVER_MODEL: {words}")


ENDPOINTS = {
    "a model with a space": "acme one=http://h:1",
    "a model with two slashes": "a/b/c=http://h:1",
    "a model that is a path": "../etc=http://h:1",
    "a model that is too long": f"{'a' * 129}=http://h:1",
    "no model": "=http://h:1",
    "no address": "acme/one",
    "TLS": "acme/one=https://h:1",
    "a port of none": "acme/one=http://h:0",
    "a port beyond all": "acme/one=http://h:65536",
    "half an IPv6 address": "acme/one=http://[::1:80",
    "a path": "acme/one=http://h:1/v1",
    "a query": "acme/one=http://h:1?x=1",
    "a fragment": "acme/one=http://h:1#x",
    "a password": "acme/one=http://user:secret@h:1",
    "a tab in the host": "acme/one=http://h\tost:1",
    "a host of other letters": "acme/one=http://h\xf6st:1",
}


@pytest.mark.parametrize("text", ENDPOINTS.values(), ids=ENDPOINTS)
def test_an_endpoint_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^list, line 3: found ") as caught:
        parse_endpoint(text, "list, line 3")
    assert "secret" not in str(caught.value)


def test_a_wrong_name_of_a_model_is_told_the_form_of_names() -> None:
    with pytest.raises(SettingsError) as caught:
        parse_endpoint("acme one=http://h:1", "--endpoint")
    assert str(caught.value).startswith('--endpoint: found the model "acme one"; expected one or two names of letters')


def test_spaces_around_the_parts_of_an_endpoint_do_not_count() -> None:
    listed = parse_endpoint(" acme/one\t= http://[::1]:8000/ ", "--endpoint")
    assert (listed.model, listed.host, listed.port) == ("acme/one", "::1", 8000)


def test_an_empty_list_is_said_to_be_empty(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "list"
    file.write_text("# nobody yet\n")
    StaticList((), str(file), _nobody)
    assert [record.message for record in caplog.records] == ["the list of endpoints is empty"]


def test_an_edit_is_taken_once_it_rests_whatever_the_file_is(tmp_path: Path) -> None:
    """A file that changes from look to look may be half written."""
    catalog_file, keys_file = tmp_path / "models_info.json", tmp_path / "keys.json"
    catalog_file.write_text(f"[{ENTRY}]")
    keys_file.write_text("[]")
    taken: list[int] = []
    catalog, keys = CatalogFile(catalog_file, lambda specs: taken.append(len(specs))), Keys(keys_file)
    key, entry = new_key("alice")
    for look in range(3):
        if look == 0:
            catalog_file.write_text("[]")
            keys_file.write_text(json.dumps([{"id": entry.id, "name": entry.name, "sha256": entry.sha256}]))
        catalog.look()
        keys.look()
        assert taken == ([0] if look else [])
        if look:
            assert keys.client(f"Bearer {key}").key.name == "alice"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"id": "x"}, "[0].id: expected ten digits or letters a to f"),
        ({"sha256": "1"}, "[0].sha256: expected the SHA-256 of the whole key"),
        ({"name": ""}, "[0].name: must not be empty"),
        ({"sha": "1"}, "[0].sha: unknown field; did you mean sha256?"),
    ],
)
def test_a_key_that_is_wrong_is_told_what_is_allowed(entry: dict[str, str], words: str) -> None:
    with pytest.raises(KeysError) as refused:
        parse_keys(json.dumps([json.loads(KEY) | entry]).encode(), "keys.json")
    assert f"keys.json: {words}" in str(refused.value)
