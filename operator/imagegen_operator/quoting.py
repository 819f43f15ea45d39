"""Words of others (a scheduler, a kubelet, a log) made fit for a message of ours: one line, bounded, without secrets.

Pure.
"""

import re

import msgspec

MESSAGE_BYTES = 1000
"""Most UTF-8 bytes of a message: an Event's note may have 1,024."""

QUOTED_BYTES = 500
"""Most UTF-8 bytes of what is quoted within one, so that there is room for what to do."""

LINE_BYTES = 300
"""Most UTF-8 bytes of a log line."""

_HUB_TOKEN = re.compile(r"\b(hf_|api_org_)[A-Za-z0-9]{16,}")


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a JSON log, as our server writes it."""

    message: str = ""
    exc_info: str = ""


def plain(words: str, most_bytes: int = QUOTED_BYTES) -> str:
    """Return ``words`` on one line and cut: tokens of the Hub masked, what is not printable escaped."""
    joined = " ".join(_HUB_TOKEN.sub(r"\1***", words).split())
    return _cut(joined if joined.isprintable() else "".join(map(_escaped, joined)), most_bytes)


def _cut(words: str, most_bytes: int) -> str:
    """Return ``words`` in at most ``most_bytes`` of UTF-8, with an ellipsis where something is missing."""
    encoded = words.encode()
    if len(encoded) <= most_bytes:
        return words
    ellipsis = "…"
    return encoded[: most_bytes - len(ellipsis.encode())].decode(errors="ignore").rstrip() + ellipsis


def last_line(log: str) -> str:
    """Return the last line of ``log`` that says something; of a JSON line its message, or the error that it tells."""
    lines = [line for line in log.splitlines() if line.strip()]
    return plain(_message(lines[-1]), LINE_BYTES) if lines else ""


def sentence(words: str) -> str:
    """Return ``words`` with a full stop at its end."""
    return words if words.endswith((".", "!", "?", "…")) else f"{words}."


def _message(line: str) -> str:
    """Return what a JSON log line says, any other line as it is."""
    try:
        record = msgspec.json.decode(line.encode(errors="replace"), type=_Record)
    except msgspec.DecodeError:
        return line
    said = (record.exc_info.strip() or record.message.strip()).splitlines()
    return said[-1] if said else line


def _escaped(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
