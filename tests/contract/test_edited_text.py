"""What people write by hand: which bytes are text, where a line ends, and where and why something is no JSON."""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen_contract.edited_text import (
    FileError,
    MissingFileError,
    TextError,
    decode,
    decode_json,
    json_text,
    lines,
    read_file,
)

NO_TEXT = {
    "UTF-16 with a mark": ("[]".encode("utf-16"), "found UTF-16; allowed: UTF-8"),
    "UTF-16 from the other end": ("\ufeff[]".encode("utf-16-be"), "found UTF-16; allowed: UTF-8"),
    "UTF-16 without a mark": ("[1]".encode("utf-16-le"), "found UTF-16; allowed: UTF-8"),
    "UTF-32": ("[]".encode("utf-32"), "found UTF-32; allowed: UTF-8"),
    "a byte of Latin-1": (b"one\r\nd\xfcrer", "line 2, column 2: the byte 0xfc is not UTF-8; allowed: UTF-8"),
    "NUL": (b"a\rb\r\0", "line 3, column 1: found a NUL byte; allowed: text"),
}


@pytest.mark.parametrize(("content", "words"), NO_TEXT.values(), ids=NO_TEXT)
def test_bytes_that_are_no_text(content: bytes, words: str) -> None:
    with pytest.raises(TextError) as caught:
        decode(content)
    assert str(caught.value) == words


def test_a_byte_order_mark_is_skipped_once() -> None:
    assert decode("\ufeff\ufeffä".encode()) == "\ufeffä"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_every_system_ends_them(end: str) -> None:
    text = end.join(["a=1", "", "# nothing", "\t b=2\t # two ", "c\x0b\x85\u2028=3"])
    assert list(lines(text)) == [(1, "a=1"), (4, "b=2"), (5, "c\x0b\x85\u2028=3")]


NO_JSON = {
    "a comma after the last element": ("[\n  1,\n]", "line 3, column 1: found ] after a comma; no comma stands after"),
    "a comma after the last field": ('{"a": 1,}', "line 1, column 9: found } after a comma; no comma stands after"),
    "two commas": ('{"a":1,,"b":2}', "line 1, column 8: found ,; expected a name in double quotes"),
    "a comma that is missing": ('{"a": 1\r\n "b": 2}', "line 2, column 2: found \"; expected ',' or '}'"),
    "a comment of a line": ("[1, // one\n2]", "line 1, column 5: found a comment, //; JSON has none"),
    "a comment of C": ("/* x */[]", "line 1, column 1: found a comment, /*; JSON has none"),
    "a comment of a shell": ("[]\n# x", "line 2, column 1: found a comment, #; JSON has none"),
    "single quotes": ("{'a': 1}", "line 1, column 2: found the quote '; texts stand in double quotes, \""),
    "typographic quotes": ("[\u201ca\u201d]", "line 1, column 2: found the quote \u201c; texts stand in double quotes"),
    "a name without quotes": ("{a: 1}", "line 1, column 2: found a; expected a name in double quotes"),
    "Python's true": ('["ä", True]', "line 1, column 7: found True; JSON writes true"),
    "Python's null": ("[None]", "line 1, column 2: found None; JSON writes null"),
    "no number": ("[NaN]", "line 1, column 2: found NaN; allowed: a number"),
    "a number with a zero before it": ("[01]", "line 1, column 3: found 1; invalid number"),
    "a line end in a text": ('["a\nb"]', "line 1, column 4: found a line end; inside a text it is written as"),
    "a tab in a text": ('["a\tb"]', "line 1, column 4: found a tab; inside a text it is written as"),
    "a path of Windows": ('["C:\\dir"]', "line 1, column 5: found \\d in a text; allowed: "),
    "half a surrogate pair": ('[\r"\\ud800"]', "line 2, column 2: found half of a surrogate pair; allowed: both"),
    "the second half alone": ('["a", "\\udc00"]', "line 1, column 8: found half of a surrogate pair; allowed: both"),
    "an escape cut short": ('["\\u12"]', "line 1, column 3: found \\u without four hexadecimal digits after it"),
    "a second document": ("[]\r\n[]", "line 2, column 1: found [; the document has ended before it"),
    "a text cut short": ('[\n  {"a": "', "line 2, column 10: the text ends here, and something is still open"),
    "a space that is none": ("[\u00a01]", "line 1, column 2: found \\xa0; allowed: a text, number"),
    "YAML": ("- id: a/b\n", "line 1, column 2: "),
    "a mark in the middle": ("[\ufeff1]", "line 1, column 2: found a byte order mark; it stands only at the beginning"),
}


@pytest.mark.parametrize(("text", "words"), NO_JSON.values(), ids=NO_JSON)
def test_text_that_is_no_json(text: str, words: str) -> None:
    for content in (text, text.encode(), b"\xef\xbb\xbf" + text.encode()):
        with pytest.raises(TextError) as caught:
            json_text(content)
        assert str(caught.value).startswith(f"not JSON: {words}")


REFUSED = {
    "an empty file": (b"", "found an empty file"),
    "blanks in a file": (b"\xef\xbb\xbf \r\n", "found an empty file"),
    "an empty variable": ("", "found an empty text"),
    "a name twice": (b'[{"a": {"b": 1, "b": 1}}]', "field [0].a.b: stands there more than once; allowed: once"),
    "a number beyond all range": (b"[[1, 1e400]]", "field [0][1]: number out of range"),
    "nesting without end": (b"[" * 100_000, "not JSON: maximum recursion depth exceeded"),
    "a variable that is not UTF-8": ('{"a": "\udcff"}', "not JSON: it holds bytes that are not UTF-8"),
}


@pytest.mark.parametrize(("content", "words"), REFUSED.values(), ids=REFUSED)
def test_json_that_cannot_be_taken(content: bytes | str, words: str) -> None:
    with pytest.raises(TextError) as caught:
        decode_json(content)
    assert str(caught.value).startswith(words)


def test_what_is_shown_of_a_fault_is_too_short_for_a_secret() -> None:
    for text in ("[sk-imagegen-0123456789-abcdefghijklmnop]", '["a" "sk-imagegen-0123456789-abcdefghijklmnop"]'):
        with pytest.raises(TextError) as caught:
            json_text(text)
        assert "0123456789" not in str(caught.value)


@given(st.text(alphabet="[]{}\",:/#'\\nu0123e-+. \t\r\n\x00ä\ud800", max_size=12))
def test_every_text_is_json_or_has_a_place(text: str) -> None:
    with contextlib.suppress(TextError):
        assert decode_json(text) == json.loads(text.removeprefix("\ufeff"))


@given(st.binary(max_size=40))
def test_any_bytes_are_json_or_a_text_error(content: bytes) -> None:
    with contextlib.suppress(TextError):
        decode_json(content)


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MissingFileError, match=r"^cannot be read: No such file or directory$"):
        read_file(tmp_path / "none")
    with pytest.raises(FileError, match=r"^cannot be read: Is a directory; allowed: a file$"):
        read_file(tmp_path)
    with pytest.raises(FileError, match=r"^cannot be read: Not a directory$"):
        read_file(tmp_path / "file" / "inside")
    monkeypatch.setattr(Path, "read_bytes", _denied)  # the tests may run as root, who may read all
    with pytest.raises(FileError, match=r"^cannot be read: Permission denied for the user that runs this program$"):
        read_file(tmp_path / "file")


def _denied(_: Path) -> bytes:
    raise PermissionError(13, "Permission denied")
