"""What diffusers, transformers and safetensors raise, in our words and in one line.

Their messages are written for people who call them from Python. Advice about arguments of theirs, which nobody here can
pass, is left out.
"""

import errno
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager

from imagegen_contract.load_failures import LoadFailure
from imagegen_server.errors import LoadError
from imagegen_server.pipelines.components import WeightsError

_SENTENCE_ENDS = re.compile(r"(?<=[.!?]) +")
_ADVICE = re.compile(
    r"\w=['\"\w]|\bself\b|\b[Pp]lease\b|\bIf you\b|\b[Mm]ake sure\b|\b[Yy]ou can\b|\b[Yy]ou set\b|github\.com"
)
"""What only somebody who calls the library can do something with."""
_CLASS = re.compile(r"<class '(?:[\w.]+\.)?(\w+)'>")
_SHAPE = re.compile(r"torch\.Size\(\[([\d, ]*)\]\)")
_WRAPPER = re.compile(r"Unable to load weights from checkpoint file|Can't load the configuration|Error while")
"""How messages begin that only repeat where the file is; the cause is in the error below them."""


@contextmanager
def load_errors(what: str) -> Generator[None]:
    """Turn whatever the libraries raise (safetensors has an error of its own) into a WeightsError in one line."""
    try:
        yield
    except LoadError:
        raise
    except Exception as error:
        if _is_out_of_memory(error):
            message = f"{what} cannot be loaded: this machine has no memory for it: {words_of(error)}"
            raise WeightsError(message, LoadFailure.OUT_OF_MEMORY) from None
        raise WeightsError(f"{what} cannot be loaded: {words_of(error)}") from error


def words_of(error: BaseException) -> str:
    """Return the first line that says something about the cause, without advice to programmers."""
    chain = list(_chain(error))
    for each in chain:
        words = _plain(str(each))
        if words and not (_WRAPPER.match(words) and each is not chain[-1]):
            return words if len(words.split()) > 1 else f"{type(each).__name__}: {words}"
    return type(chain[-1]).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what caused it, the outermost first."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _plain(message: str) -> str:
    first_line = next(iter(message.strip().splitlines()), "")
    kept = [sentence for sentence in _SENTENCE_ENDS.split(first_line) if not _ADVICE.search(sentence)]
    plain = _SHAPE.sub(r"(\1)", _CLASS.sub(r"\1", " ".join(kept)))
    return " ".join(plain.split()).rstrip(".")


def _is_out_of_memory(error: Exception) -> bool:
    """Whether the host ran out of memory: Python, torch's allocator and mmap each say it in their own way."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or "can't allocate memory" in str(error)
