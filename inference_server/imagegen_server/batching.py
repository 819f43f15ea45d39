"""Which requests join the device next, and which of their rows run in the next UNet call. Pure.

Today's policy: one request at a time, in order of arrival; its images are one batch. The engine asks again before
every evaluation, so a policy that lets rows join and leave between evaluations replaces these two functions only.
"""

from collections.abc import Hashable, Sequence

import msgspec


class RowView(msgspec.Struct, frozen=True):
    """One running image row: the request it belongs to, and what rows must share to run in one call."""

    request: int
    key: Hashable


def joining(running: Sequence[RowView], waiting: Sequence[int]) -> Sequence[int]:
    """Return the requests (of ``waiting``, oldest first) that are admitted now."""
    return waiting[:1] if not running else []


def next_batch(running: Sequence[RowView], most_rows: int) -> list[int]:
    """Return the indices of the rows of the next call: the oldest row and all that can run with it.

    ``most_rows`` is what the device has shown to hold; the rows left over run in a call of their own.
    """
    if not running:
        return []
    oldest = running[0]
    return [index for index, row in enumerate(running) if row.key == oldest.key][: max(1, most_rows)]
