"""What people write by hand, in files and in variables: one reader for all of it.

1. Text is UTF-8. A byte order mark at its beginning is skipped; UTF-16, UTF-32 and NUL are refused by name.
2. Lines end with LF, CRLF or CR. Spaces and tabs around a line do not count.
3. JSON that is not right is refused with line and column. A name that stands twice in one object is refused too,
   since otherwise the last one would silently count.

The errors say what was found and where; whoever reads adds the name of the file or variable.
"""

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, cast

import msgspec

from imagegen_contract.validation import violation

_WIDE = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_LINE_END = re.compile("\r\n|\r|\n")
_BYTE = re.compile(r" \(byte (\d+)\)$")
_WORD = re.compile(r"[A-Za-z_][\w.-]*|-?Infinity")
_HALF_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")
_TOKEN = re.compile(r"[\w.+-]{1,12}|.", re.DOTALL)
"""Of what is wrong, so much is shown: it may be a secret."""

REPEATED = "stands there more than once; allowed: once"

_JSON_WORDS = {"True": "true", "False": "false", "None": "null", "undefined": "null", "nil": "null"}
_NO_NUMBERS = frozenset({"NaN", "nan", "Infinity", "-Infinity", "inf"})


class TextError(ValueError):
    """A text that cannot be used; the message says what was found in it and where."""


class FileError(TextError):
    """A file that cannot be read."""


class MissingFileError(FileError):
    """A file that is not there."""


def read_file(path: Path) -> bytes:
    """Return what a file holds; raise FileError in words."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise MissingFileError(f"cannot be read: {error.strerror}") from None
    except IsADirectoryError:
        raise FileError("cannot be read: Is a directory; allowed: a file") from None
    except PermissionError:
        raise FileError("cannot be read: Permission denied for the user that runs this program") from None
    except OSError as error:
        raise FileError(f"cannot be read: {error.strerror or error}") from None


def decode(content: bytes) -> str:
    """Return the text of a file; raise TextError when it is none."""
    encoding = next((name for mark, name in _WIDE.items() if content.startswith(mark)), "")
    if encoding or (content[:2].count(0) == 1 and content[2:4].count(0) == 1):  # without a mark
        raise TextError(f"found {encoding or 'UTF-16'}; allowed: UTF-8")
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start].decode()
        raise TextError(
            f"{place(before)}: the byte 0x{content[error.start]:02x} is not UTF-8; allowed: UTF-8"
        ) from None
    if "\0" in text:
        raise TextError(f"{place(text[: text.index(chr(0))])}: found a NUL byte; allowed: text")
    return text


def place(before: str) -> str:
    """Return where a text is that has ``before`` in front of it: ``line 3, column 5``, counted in characters from 1."""
    *lines, last = _LINE_END.split(before)
    return f"line {len(lines) + 1}, column {len(last) + 1}"


def lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield number and content of each line that has something beside a comment (``#``) in it."""
    for number, line in enumerate(_LINE_END.split(text), 1):
        if content := line.partition("#")[0].strip():
            yield number, content


def json_text(content: bytes | str) -> str:
    """Return a JSON document as text whose syntax is right; raise TextError."""
    text = decode(content) if isinstance(content, bytes) else content.removeprefix("\ufeff")
    if not text.strip(" \t\r\n"):
        raise TextError("found an empty file" if isinstance(content, bytes) else "found an empty text")
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except RecursionError as error:
        raise TextError(f"not JSON: {error}") from None
    except UnicodeEncodeError:  # variables that are not UTF-8 hold lone surrogates
        raise TextError("not JSON: it holds bytes that are not UTF-8") from None
    except msgspec.DecodeError as error:
        _refuse(text, str(error))
    return text


def decode_json(content: bytes | str) -> Any:
    """Return a JSON document, decoded. Raise TextError when it is none, or an object in it has a name twice."""
    text = json_text(content)
    try:
        value, repeated = msgspec.json.decode(text), next(repeated_names(text), None)
    except msgspec.ValidationError as error:  # a number beyond all range
        broken = violation(error)
        raise TextError(f"field {broken.path}: {broken.rule}" if broken.path else broken.rule) from None
    except RecursionError as error:
        raise TextError(f"not JSON: {error}") from None
    if repeated:
        raise TextError(f"field {repeated}: {REPEATED}")
    return value


def repeated_names(text: str) -> Iterator[str]:
    """Yield the path of each name that an object of a JSON document has more than once."""
    yield from _repeated(json.loads(text, object_pairs_hook=_Object), "")


class _Object(dict[str, object]):
    """A JSON object that knows which of its names came more than once; of those, the last value counts."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        self.repeated = [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]


def _repeated(value: object, path: str) -> Iterator[str]:
    if isinstance(value, _Object):
        prefix = f"{path}." if path else ""
        yield from (prefix + name for name in value.repeated)
        for name, inner in value.items():
            yield from _repeated(inner, prefix + name)
    elif isinstance(value, list):
        for index, inner in enumerate(cast("list[object]", value)):
            yield from _repeated(inner, f"{path}[{index}]")


def _refuse(text: str, message: str) -> NoReturn:
    """Raise TextError for what msgspec says of a text: where it is, and in words what it is."""
    at = _position(text, message)
    raise TextError(f"not JSON: {place(text[:at])}: {_words(text, at, message)}") from None


def _position(text: str, message: str) -> int:
    """Return the index of the character that is wrong; msgspec counts bytes."""
    found = _BYTE.search(message)
    if found is None:  # the end came too early; half a surrogate pair reads as that too
        half = _half_pair(text)
        return len(text) if half is None else half
    # Of trailing characters it names the second one, of an escape what comes after the backslash.
    byte = int(found[1]) - message.startswith(("JSON is malformed: trailing char", "JSON is malformed: invalid escape"))
    at = len(text.encode()[:byte].decode(errors="ignore"))
    return text.rfind("\\u", 0, at) if _of_unicode(message) else at


def _half_pair(text: str) -> int | None:
    try:
        json.loads(text)
    except ValueError:
        return None
    match = _HALF_PAIR.search(text)
    return match and match.start()


def _of_unicode(message: str) -> bool:
    return "unicode escape" in message or "surrogate" in message


def _words(text: str, at: int, message: str) -> str:
    rest = text[at:]
    if not rest:
        return "the text ends here, and something is still open"
    if "surrogate" in message or _BYTE.search(message) is None:
        return "found half of a surrogate pair; allowed: both halves, or the character itself"
    if "unicode escape" in message:
        return r"found \u without four hexadecimal digits after it"
    if rest.startswith("\\"):
        return f"found {rest[:2]} in a text; allowed: {_ESCAPES}"
    return _of_beginning(rest) or _of_neighbours(text, at) or f"found {_shown(rest)}; {_expected(message)}"


_ESCAPES = r"\" \\ \/ \b \f \n \r \t \uXXXX"


def _of_beginning(rest: str) -> str:
    """Return what is wrong where its first characters say it, "" else."""
    word = match[0] if (match := _WORD.match(rest)) else ""
    if rest.startswith(("//", "/*", "#")):
        return f"found a comment, {rest[:2] if rest[0] == '/' else rest[0]}; JSON has none"
    if rest[0] in "\u201c\u201d\u201e\u2018\u2019'`":
        return f'found the quote {rest[0]}; texts stand in double quotes, "'
    if word in _JSON_WORDS:
        return f"found {word}; JSON writes {_JSON_WORDS[word]}"
    return f"found {word}; allowed: a number" if word in _NO_NUMBERS else ""


def _of_neighbours(text: str, at: int) -> str:
    """Return what is wrong where what stands before it says it, "" else."""
    found, before = text[at], text[:at].rstrip()
    if found in "]}" and before.endswith(","):
        return f"found {found} after a comma; no comma stands after the last element"
    if found < " ":
        name = {"\n": "a line end", "\r": "a line end", "\t": "a tab"}.get(found, f"the control character {found!a}")
        return f"found {name}; inside a text it is written as \\n, \\t or \\uXXXX"
    if found == "\ufeff":
        return "found a byte order mark; it stands only at the beginning of a file"
    return ""


def _expected(message: str) -> str:
    rule = _BYTE.sub("", message).removeprefix("JSON is malformed: ")
    return {
        "invalid character": "allowed: a text, number, object, list, true, false or null",
        "trailing characters": "the document has ended before it",
        "expected '\"'": 'expected a name in double quotes, "',
    }.get(rule, rule)


def _shown(rest: str) -> str:
    token = _TOKEN.match(rest)
    found = token[0] if token else ""
    return found if found.isprintable() else ascii(found).strip("'")
