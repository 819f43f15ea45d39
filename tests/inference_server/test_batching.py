"""Which requests join and which rows run together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen_server.batching import RowView, joining, next_batch

VIEWS = st.lists(st.builds(RowView, request=st.integers(1, 4), key=st.sampled_from("abc")), max_size=12)


def rows(text: str) -> list[RowView]:
    """Read ``1a 1a 2b``: the request and the key of each row."""
    return [RowView(int(word[:-1]), word[-1]) for word in text.split()]


JOINING = {
    "the oldest request joins an idle device": ("", [4, 5, 6], [4]),
    "nobody joins while a request runs": ("3a", [4, 5], []),
    "nobody joins when nobody waits": ("", [], []),
}


@pytest.mark.parametrize(("running", "waiting", "join"), JOINING.values(), ids=JOINING)
def test_joining(running: str, waiting: list[int], join: list[int]) -> None:
    assert list(joining(rows(running), waiting)) == join


BATCHES = {
    "nothing runs when nothing is there": ("", 8, []),
    "all images of a request run in one call": ("1a 1a 1a", 8, [0, 1, 2]),
    "rows with another key than the oldest wait": ("1a 2b 3a", 8, [0, 2]),
    "the oldest rows go first when not all fit": ("1a 1a 1a", 2, [0, 1]),
    "one row always runs": ("1a 1a", 0, [0]),
    "the limit counts only rows that can run together": ("1a 2b 2b 3a", 2, [0, 3]),
}


@pytest.mark.parametrize(("running", "most", "batch"), BATCHES.values(), ids=BATCHES)
def test_next_batch(running: str, most: int, batch: list[int]) -> None:
    assert next_batch(rows(running), most) == batch


@given(VIEWS, st.integers(-1, 20))
def test_a_batch_has_the_oldest_row_one_key_and_no_more_rows_than_fit(running: list[RowView], most: int) -> None:
    batch = next_batch(running, most)
    assert bool(batch) == bool(running)
    if batch:
        assert batch[0] == 0
        assert len({running[index].key for index in batch}) == 1
        assert len(batch) <= max(1, most)
        assert batch == sorted(set(batch))


@given(VIEWS)
def test_a_row_is_left_out_only_for_its_key_or_for_room(running: list[RowView]) -> None:
    batch = next_batch(running, len(running))
    assert all(running[index].key != running[0].key for index in set(range(len(running))) - set(batch))


@given(st.lists(st.integers(1, 3), min_size=1, max_size=6), st.integers(1, 4))
def test_repeated_batches_finish_every_row(left: list[int], most: int) -> None:
    """As the engine does: rows that are done fall out, the others keep their places."""
    calls = 0
    while any(left):
        alive = [index for index, count in enumerate(left) if count]
        for index in next_batch([RowView(1, "a") for _ in alive], most):
            left[alive[index]] -= 1
        calls += 1
        assert calls <= 6 * 3
