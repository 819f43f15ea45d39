"""The chart's README: what it installs, and a table of its values made from the comments of values.yaml."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

CHART = Path(__file__).resolve().parent.parent / "charts" / "imagegen"

_LINE = re.compile(r"^(?P<indent> *)(?:# (?P<comment>.*)|(?P<key>[A-Za-z][A-Za-z0-9_]*):(?: (?P<value>.*))?)$")

_INTRODUCTION = """\
# The chart of imagegen

Operator, router, catalog and the definition of ImageModels, in one namespace. [docs/install.md](../../docs/install.md)
is the way from nothing to a first picture.

    helm install imagegen charts/imagegen --namespace imagegen --create-namespace

Needs Kubernetes 1.30 or later and helm 3.17 or later. Everything beyond Kubernetes itself (an ingress controller, the
Gateway API, the Prometheus operator) is switched on by a value and not needed.

## Values

A name that is not listed here is refused, and so is a value of another type.

| value | default | what it does |
|---|---|---|
"""


def chart_readme() -> str:
    """Return the page; raise ValueError where a value has no comment."""
    rows = (f"| `{path}` | {_shown(value)} | {comment} |\n" for path, value, comment in documented_values())
    return _INTRODUCTION + "".join(rows)


def documented_values() -> Iterator[tuple[str, object, str]]:
    """Yield path, default and comment of each value; raise ValueError where the comment is missing."""
    parents: list[str] = []
    comment: list[str] = []
    for number, line in enumerate((CHART / "values.yaml").read_text(encoding="utf-8").splitlines(), 1):
        if not line:
            comment = []
            continue
        found = _LINE.match(line)
        if not found:
            raise ValueError(f"values.yaml, line {number}: neither a comment nor a key with a value on its own line")
        if found["comment"]:
            comment.append(found["comment"])
            continue
        del parents[len(found["indent"]) // 2 :]
        parents.append(found["key"])
        if found["value"] is not None:
            if not comment:
                raise ValueError(f"values.yaml, line {number}: {'.'.join(parents)} has no comment")
            yield ".".join(parents), yaml.safe_load(found["value"]), " ".join(comment)
        comment = []


def _shown(value: object) -> str:
    return "" if value == "" else f"`{json.dumps(value)}`"
