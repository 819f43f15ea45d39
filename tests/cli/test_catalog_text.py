"""An entry appended to a catalog: nothing that people wrote changes, and the indentation is theirs."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from command_line import names
from imagegen_cli.catalog_text import CatalogText, appended
from imagegen_cli.command import CommandError

ENTRY: dict[str, Any] = {"publisher": "n", "family": "f", "version": "1", "id": "n/ew", "inference": {"steps": 4}}
OLD = '"publisher": "p", "family": "f", "version": "1", "id": "p/m"'


def lines(*texts: str) -> str:
    """Return ``texts`` as the lines of a file."""
    return "".join(f"{text}\n" for text in texts)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            lines("[", "  {", f"    {OLD}", "  }", "]"),
            lines(
                "[", "  {", f"    {OLD}", "  },",
                "  {", '    "publisher": "n",', '    "family": "f",', '    "version": "1",', '    "id": "n/ew",',
                '    "inference": {', '      "steps": 4', "    }", "  }", "]",
            ),
            id="two spaces",
        ),
        pytest.param(
            lines("[", "\t{", f"\t\t{OLD}", "\t}", "]"),
            lines(
                "[", "\t{", f"\t\t{OLD}", "\t},",
                "\t{", '\t\t"publisher": "n",', '\t\t"family": "f",', '\t\t"version": "1",', '\t\t"id": "n/ew",',
                '\t\t"inference": {', '\t\t\t"steps": 4', "\t\t}", "\t}", "]",
            ),
            id="tabs",
        ),
        pytest.param(
            lines("[{", f"    {OLD}", "}]"),
            lines(
                "[{", f"    {OLD}", "},",
                "{", '    "publisher": "n",', '    "family": "f",', '    "version": "1",', '    "id": "n/ew",',
                '    "inference": {', '        "steps": 4', "    }", "}]",
            ),
            id="braces beside the brackets",
        ),
        pytest.param(
            f"[{{{OLD}}}]",
            f"[{{{OLD}}}, {json.dumps(ENTRY)}]",
            id="all in one line",
        ),
        pytest.param(
            "[]\n",
            lines(
                "[", "  {", '    "publisher": "n",', '    "family": "f",', '    "version": "1",', '    "id": "n/ew",',
                '    "inference": {', '      "steps": 4', "    }", "  }", "]",
            ),
            id="an empty list",
        ),
    ],
)  # fmt: skip
def test_an_entry_is_written_as_the_others_are(before: str, after: str) -> None:
    assert appended(before, ENTRY) == after


def test_line_ends_of_windows_stay() -> None:
    before = lines("[", "  {", f"    {OLD}", "  }", "]").replace("\n", "\r\n")
    after = appended(before, ENTRY)
    assert after.count("\n") == after.count("\r\n") > before.count("\n")


SPACE = st.text(" \t\n", max_size=3)


@given(
    entries=st.lists(st.dictionaries(st.text('ab[]{}",\\ \n', max_size=4), st.text('[]{}",é\n', max_size=4))),
    indent=st.sampled_from([None, 0, 1, 4, "\t"]),
    spaces=st.tuples(SPACE, SPACE, SPACE),
    windows=st.booleans(),
)
def test_whatever_the_list_looks_like_it_is_kept_and_stays_json(
    entries: list[dict[str, str]], indent: int | str | None, spaces: tuple[str, str, str], windows: bool
) -> None:
    written = json.dumps(entries, indent=indent)
    before = f"{spaces[0]}{written[:-1]}{spaces[1]}]{spaces[2]}"
    before = before.replace("\n", "\r\n") if windows else before
    after = appended(before, ENTRY)
    assert json.loads(after) == [*entries, ENTRY]
    kept = before[: before.rindex("]")].rstrip()
    assert after.startswith(kept)
    assert after.endswith(before[before.rindex("]") :])


def catalog(folder: Path, text: str = f"[{{{OLD}}}]") -> Path:
    """Write a catalog and return where it is."""
    path = folder / "models.json"
    path.write_text(text)
    return path


def test_the_file_keeps_its_mode_and_a_link_stays_a_link(tmp_path: Path) -> None:
    real = catalog(tmp_path)
    real.chmod(0o640)
    link = tmp_path / "link.json"
    link.symlink_to(real)
    text = CatalogText(link)
    text.replace(text.with_entry(ENTRY))
    assert link.is_symlink()
    assert [spec.id for spec in CatalogText(real).specs] == ["p/m", "n/ew"]
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert names(tmp_path) == ["link.json", "models.json"]


def test_an_edit_in_the_meantime_is_not_overwritten(tmp_path: Path) -> None:
    path = catalog(tmp_path)
    text = CatalogText(path)
    path.write_text("[]")
    with pytest.raises(CommandError, match="edited meanwhile"):
        text.replace(text.with_entry(ENTRY))
    assert path.read_text() == "[]"
    assert names(tmp_path) == ["models.json"]


def test_a_file_that_appears_in_the_meantime_is_not_overwritten(tmp_path: Path) -> None:
    text = CatalogText(tmp_path / "models.json")
    path = catalog(tmp_path)
    with pytest.raises(CommandError, match="edited meanwhile"):
        text.replace(text.with_entry(ENTRY))
    assert "p/m" in path.read_text()


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    text = CatalogText(tmp_path / "missing" / "models.json")
    with pytest.raises(CommandError, match="cannot be written: No such file or directory"):
        text.replace(text.with_entry(ENTRY))


@pytest.mark.parametrize(
    "content", ["", "{}", "[", f"[{{{OLD}}}, {{{OLD}}}]"], ids=["empty", "object", "half", "twice"]
)
def test_a_broken_catalog_is_left_alone(tmp_path: Path, content: str) -> None:
    with pytest.raises(CommandError, match="is broken, so nothing is added to it: see `imagegen models check"):
        CatalogText(catalog(tmp_path, content))


def test_an_entry_that_is_not_right_is_refused(tmp_path: Path) -> None:
    text = CatalogText(catalog(tmp_path))
    with pytest.raises(CommandError, match=r"field replicas: found -1"):
        text.with_entry({**ENTRY, "replicas": -1})
