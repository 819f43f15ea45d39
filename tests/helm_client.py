"""helm on this checkout's chart: renders it, lints it, and installs it into a cluster."""

import os
import subprocess
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from helm_binary import HELM_VERSIONS, NoHelm, helm

CHART = Path(__file__).parents[1] / "charts" / "imagegen"
HELMS = tuple(HELM_VERSIONS.values())

_SECONDS = 120.0

Values = Mapping[str, Any]
Manifest = dict[str, Any]


class Refused(Exception):
    """helm would not do it; the message is what it said."""


class Helm:
    """One version of helm. ``kubeconfig`` and ``namespace`` are for what talks to a cluster."""

    def __init__(self, version: str, *, kubeconfig: Path | None = None, namespace: str = "imagegen") -> None:
        try:
            self._program = helm(version)
        except NoHelm as error:
            pytest.skip(str(error))
        self._kubeconfig = kubeconfig
        self._namespace = namespace

    def template(self, values: Values, *, kubernetes: str = "1.36", release: str = "imagegen") -> list[Manifest]:
        """Return the objects that the chart renders to; raise Refused where it does not."""
        shown = self._with_values("template", release, str(CHART), f"--kube-version={kubernetes}", values=values)
        return [each for each in yaml.load_all(shown, Loader=_EachKeyOnce) if each]

    def lint(self, values: Values) -> None:
        """Raise Refused where the chart has as much as a warning."""
        self._with_values("lint", "--strict", str(CHART), values=values)

    def install(self, values: Values, *flags: str, release: str = "imagegen") -> str:
        """Install or upgrade the release and return what helm says."""
        return self._with_values("upgrade", "--install", release, str(CHART), *flags, values=values)

    def run(self, *arguments: str, seconds: float = _SECONDS) -> str:
        """Run helm and return what it prints; raise Refused when it fails."""
        where = [f"--namespace={self._namespace}"]
        where += [f"--kubeconfig={self._kubeconfig}"] if self._kubeconfig else []
        with tempfile.TemporaryDirectory() as home:
            # Neither the caches nor the plugins of whoever runs the tests.
            own = {f"HELM_{name}_HOME": f"{home}/{name}" for name in ("CACHE", "CONFIG", "DATA")}
            environment = {**os.environ, **own}  # noqa: TID251 - a child's
            done = subprocess.run(
                [str(self._program), *arguments, *where],
                env=environment,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        if done.returncode != 0:
            raise Refused(f"{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return done.stdout

    def _with_values(self, *arguments: str, values: Values) -> str:
        with _written(values) as path:
            return self.run(*arguments, f"--values={path}", seconds=900.0)


class _EachKeyOnce(yaml.CSafeLoader):
    """YAML as its standard has it, and as Flux reads it; helm itself takes the last of two."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.MarkedYAMLError("a mapping", node.start_mark, f"has {sorted(twice)} twice")
        return super().construct_mapping(node, deep)


@contextmanager
def _written(values: Values) -> Generator[Path]:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(dict(values), file)
        file.flush()
        yield Path(file.name)


def by_kind(manifests: Sequence[Manifest], kind: str) -> dict[str, Manifest]:
    """Return the objects of a kind by name."""
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == kind}
