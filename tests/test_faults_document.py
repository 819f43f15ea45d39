"""docs/faults.md and the tests of faults say the same: every row names its test, every test of a fault has its row."""

import ast
import re
from collections import Counter
from pathlib import Path

_COLUMNS = ["fault", "how it is made", "what the client sees", "what happens next", "test"]
_RULE = re.compile(r":?-+:?")


def rows(document: str) -> list[list[str]]:
    """Return the cells of all rows of all tables, without the lines that draw them."""
    tables = [line for line in document.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in tables]
    return [row for row in cells if not all(map(_RULE.fullmatch, row))]


def fault_tests(folder: Path) -> set[str]:
    """Return the names of all functions test_fault_* below ``folder``."""
    trees = [ast.parse(file.read_text()) for file in folder.rglob("test_*.py")]
    functions = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return {function.name for function in functions if function.name.startswith("test_fault_")}


def test_every_fault_has_its_row_and_every_row_its_test(repository: Path) -> None:
    table = rows((repository / "docs" / "faults.md").read_text())
    named = Counter(row[-1].strip("`") for row in table if row != _COLUMNS)

    assert _COLUMNS in table
    assert [row for row in table if len(row) != len(_COLUMNS) or not all(row)] == []
    assert set(named) == fault_tests(repository / "tests")
    assert max(named.values()) == 1
