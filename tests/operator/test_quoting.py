"""Words of others are on one line, bounded, and hold no secret."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen_operator.quoting import last_line, plain, sentence

LINES = {
    "the last line counts": ("one\ntwo\n", "two"),
    "empty lines at the end do not": ("one\n \n\n", "one"),
    "an empty log says nothing": ("\n\n", ""),
    "of a JSON line its message counts": ('{"level": "ERROR", "message": "port in use"}', "port in use"),
    "of a JSON line with an error its last line counts": (
        '{"message": "failed", "exc_info": "Traceback\\n  File\\nOSError: disk"}',
        "OSError: disk",
    ),
    "a JSON line without a message stays as it is": ('{"level": "ERROR"}', '{"level": "ERROR"}'),
    "a line that only looks like JSON stays as it is": ('{"message": ', '{"message":'),
    "JSON of another kind stays as it is": ("[1, 2]", "[1, 2]"),
    "control characters are escaped": ("a\x1b[2Jb\x00", r"a\x1b[2Jb\x00"),
    "a token of the Hub is masked": ("token=hf_abcdefghijklmnopQRSTUV end", "token=hf_*** end"),
    "a word that begins like a token stays": ("no hf_transfer here", "no hf_transfer here"),
}


@pytest.mark.parametrize(("log", "line"), LINES.values(), ids=LINES.keys())
def test_the_last_line_of_a_log(log: str, line: str) -> None:
    assert last_line(log) == line


@given(st.text(alphabet=st.characters(), max_size=2000), st.integers(3, 1000))
def test_what_is_quoted_is_one_printable_bounded_line(words: str, most: int) -> None:
    quoted = plain(words, most)
    assert quoted.isprintable()
    assert len(quoted.encode()) <= most
    assert plain(quoted, most) == quoted


def test_what_is_cut_ends_in_an_ellipsis_and_no_half_character() -> None:
    assert plain("é" * 10, 9) == "ééé…"
    assert plain("é" * 4, 8) == "éééé"


def test_no_part_of_a_token_is_left_by_a_cut() -> None:
    assert "hf_abc" not in plain("x" * 290 + " hf_" + "abcdefgh" * 5, 300)


def test_a_sentence_ends_with_one_full_stop() -> None:
    assert [sentence(words) for words in ("no", "no.", "cut…")] == ["no.", "no.", "cut…"]
