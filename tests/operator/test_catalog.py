"""models_info.json -> ImageModels on a real API server: what is applied, what is left alone, what is said."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster.api import Api
from cluster.control_plane import ControlPlane
from imagegen_operator.catalog import CatalogApplier
from imagegen_operator.cluster import Cluster, connect
from imagegen_operator.kinds import Kind
from imagegen_operator.metrics import Metrics
from imagegen_operator.objects import Manifest
from imagegen_operator.settings import OperatorSettings
from imagegen_operator.transitions import EventText
from server_process import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("crd")]

RELEASE = "catalog-tests"
LABELS = {"imagegen.dev/catalog": RELEASE}
SECONDS = 20.0


def entry(model_id: str, **fields: Any) -> dict[str, Any]:
    return {"publisher": "acme", "family": "sd", "version": "1", "id": model_id, **fields}


class Written:
    """The API server, with a list of what is written to it."""

    def __init__(self, cluster: Cluster) -> None:
        self.writes: list[str] = []
        self.list_all = cluster.list_all
        self._cluster = cluster

    async def apply(self, manifest: Manifest, *, field_manager: str, force: bool) -> Manifest:
        """Note it and do it."""
        self.writes.append(f"apply {manifest['metadata']['name']}")
        return await self._cluster.apply(manifest, field_manager=field_manager, force=force)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Note it and do it."""
        self.writes.append(f"delete {name}")
        await self._cluster.delete(kind, namespace, name, uid)

    async def create_event(self, regarding: Manifest, event: EventText) -> None:
        """Note it and do it."""
        self.writes.append(f"event {regarding['name']}")
        await self._cluster.create_event(regarding, event)


class Catalog:
    """One operator's catalog. ``sync`` applies entries, always by the same applier, until ``restart``."""

    def __init__(self, cluster: Cluster, loop: asyncio.Runner, settings: OperatorSettings) -> None:
        self.file = Path(settings.catalog)
        self.metrics = Metrics()
        self._models = Written(cluster)
        self._loop = loop
        self._settings = settings
        self._applier = self._new()

    def _new(self) -> CatalogApplier:
        return CatalogApplier(self._models, self._settings, self.metrics, look_seconds=0.02)

    def sync(self, *entries: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        """Return the problems, and what was written."""
        self._models.writes.clear()
        problems = self._loop.run(self._applier.sync(json.dumps(entries).encode()))
        return problems, list(self._models.writes)

    def restart(self) -> None:
        """Forget everything, as a new leader."""
        self._applier = self._new()

    def run_during(self, story: Callable[[], None]) -> None:
        """Follow the file while ``story`` happens."""

        async def follow() -> None:
            running = asyncio.create_task(self._applier.run())
            try:
                await asyncio.to_thread(story)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

        self._loop.run(follow())

    def failed(self) -> bool:
        """Return whether the metric says that something is wrong."""
        return "imagegen_operator_catalog_failed 1.0" in self.metrics.text().decode()


@pytest.fixture
def catalog(kubeconfig: Path, kubernetes: Api, tmp_path: Path) -> Iterator[Catalog]:
    file = str(tmp_path / "models_info.json")
    settings = OperatorSettings(catalog=file, namespace=kubernetes.namespace, release=RELEASE, resync_seconds=3600)
    with asyncio.Runner() as loop:
        connection = connect({"KUBECONFIG": str(kubeconfig)}, Metrics())
        yield Catalog(loop.run(connection.__aenter__()), loop, settings)
        loop.run(connection.__aexit__(None, None, None))


def managed_fields(model: dict[str, Any]) -> list[str]:
    """Return the fields of the spec that the catalog holds."""
    (ours,) = [each for each in model["metadata"]["managedFields"] if each["manager"] == "imagegen-catalog"]
    return sorted(field.removeprefix("f:") for field in ours["fieldsV1"]["f:spec"])


def test_each_entry_becomes_an_image_model_and_holds_only_what_it_says(catalog: Catalog, kubernetes: Api) -> None:
    """What an entry leaves out has its default and no owner, so that kubectl and autoscalers may set it."""
    assert catalog.sync(entry("acme/one"), entry("acme/two", replicas=3)) == ([], ["apply acme-one", "apply acme-two"])
    one, two = kubernetes.get("im", "acme-one"), kubernetes.get("im", "acme-two")
    assert one["metadata"]["labels"] == LABELS
    assert (one["spec"]["replicas"], two["spec"]["replicas"]) == (1, 3)
    assert managed_fields(one) == ["family", "id", "publisher", "version"]
    assert managed_fields(two) == ["family", "id", "publisher", "replicas", "version"]


def test_nothing_is_written_when_nothing_changed(catalog: Catalog, kubernetes: Api) -> None:
    entries = entry("acme/one"), entry("acme/two")
    catalog.sync(*entries)
    version = kubernetes.get("im", "acme-one")["metadata"]["resourceVersion"]
    assert catalog.sync(*entries) == ([], [])
    catalog.restart()
    catalog.sync(*entries)
    assert kubernetes.get("im", "acme-one")["metadata"]["resourceVersion"] == version


def test_what_somebody_deleted_comes_back(catalog: Catalog, kubernetes: Api) -> None:
    catalog.sync(entry("acme/one"))
    kubernetes.delete("im", "acme-one")
    assert catalog.sync(entry("acme/one")) == ([], ["apply acme-one"])


def test_a_changed_entry_changes_its_image_model_alone(catalog: Catalog, kubernetes: Api) -> None:
    catalog.sync(entry("acme/one", description="old", aliases=["uno"]), entry("acme/two"))
    assert catalog.sync(entry("acme/one", description="new"), entry("acme/two")) == ([], ["apply acme-one"])
    spec = kubernetes.get("im", "acme-one")["spec"]
    assert (spec["description"], spec.get("aliases", [])) == ("new", [])


@pytest.mark.parametrize(
    ("fields", "path", "patch"),
    [
        pytest.param({"replicas": 1}, "spec.replicas", {"replicas": 5}, id="a number"),
        pytest.param({"inference": {"steps": 9}}, "spec.inference.steps", {"inference": {"steps": 5}}, id="inside"),
        pytest.param(
            {"pod": {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}},
            'spec.pod.env[name="A"].value',
            {"pod": {"env": [{"name": "A", "value": "5"}, {"name": "B", "value": "2"}]}},
            id="an item of a list",
        ),
    ],
)
def test_a_field_that_a_person_changed_stays_theirs(
    fields: dict[str, Any], path: str, patch: dict[str, Any], catalog: Catalog, kubernetes: Api
) -> None:
    catalog.sync(entry("acme/one", description="old", **fields))
    kubernetes.patch("im", "acme-one", {"spec": patch})
    theirs = kubernetes.get("im", "acme-one")["spec"]
    problems, writes = catalog.sync(entry("acme/one", description="new", **fields))
    assert problems == []
    assert writes == ["apply acme-one", "apply acme-one", "event acme-one"]
    assert kubernetes.get("im", "acme-one")["spec"] == theirs | {"description": "new"}
    (event,) = kubernetes.list("Event")
    assert (event["type"], event["reason"]) == ("Normal", "CatalogFieldKept")
    assert event["message"].startswith(path), event["message"]


def test_the_event_comes_once(catalog: Catalog, kubernetes: Api) -> None:
    catalog.sync(entry("acme/one", replicas=1))
    kubernetes.patch("im", "acme-one", {"spec": {"replicas": 5}})
    for description in ("a", "b", "c"):
        catalog.sync(entry("acme/one", replicas=1, description=description))
    assert len(kubernetes.list("Event")) == 1
    assert catalog.sync(entry("acme/one", replicas=1, description="c")) == ([], [])
    assert kubernetes.get("im", "acme-one")["spec"]["replicas"] == 5


@pytest.mark.parametrize("replicas", [3, 0])
def test_kubectl_scale_is_respected(
    replicas: int, catalog: Catalog, control_plane: ControlPlane, kubernetes: Api
) -> None:
    """Also to zero, which the API server notes as nobody's wish."""
    catalog.sync(entry("acme/one", replicas=1))
    control_plane.kubectl("-n", kubernetes.namespace, "scale", "im/acme-one", f"--replicas={replicas}")
    for description in ("a", "b"):
        assert catalog.sync(entry("acme/one", replicas=1, description=description))[0] == []
        spec = kubernetes.get("im", "acme-one")["spec"]
        assert (spec["replicas"], spec["description"]) == (replicas, description)
    (event,) = kubernetes.list("Event")
    assert event["message"].startswith("spec.replicas: changed by somebody else")


@pytest.mark.parametrize("fields", [{}, {"replicas": 0}], ids=["nothing", "zero as well"])
def test_a_scale_to_zero_is_no_news_when_the_entry_says_nothing_else(
    fields: dict[str, Any], catalog: Catalog, control_plane: ControlPlane, kubernetes: Api
) -> None:
    catalog.sync(entry("acme/one", **fields))
    for replicas in (1, 0):
        control_plane.kubectl("-n", kubernetes.namespace, "scale", "im/acme-one", f"--replicas={replicas}")
    assert catalog.sync(entry("acme/one", description="new", **fields)) == ([], ["apply acme-one"])
    assert kubernetes.get("im", "acme-one")["spec"]["replicas"] == 0


def test_a_catalog_may_say_zero_and_then_one(catalog: Catalog, kubernetes: Api) -> None:
    for replicas in (0, 1, 0):
        assert catalog.sync(entry("acme/one", replicas=replicas)) == ([], ["apply acme-one"])
        assert kubernetes.get("im", "acme-one")["spec"]["replicas"] == replicas


def test_an_entry_that_left_is_deleted_only_with_this_releases_label(catalog: Catalog, kubernetes: Api) -> None:
    catalog.sync(entry("acme/one"), entry("acme/two"))
    person = {"apiVersion": "imagegen.dev/v1alpha1", "kind": "ImageModel"}
    kubernetes.apply(person | {"metadata": {"name": "mine"}, "spec": entry("me/mine")})
    other = {"name": "other", "labels": {"imagegen.dev/catalog": "another-release"}}
    kubernetes.apply(person | {"metadata": other, "spec": entry("me/other")})
    assert catalog.sync(entry("acme/one")) == ([], ["delete acme-two"])
    assert [model["metadata"]["name"] for model in kubernetes.list("im")] == ["acme-one", "mine", "other"]


def test_an_image_model_of_that_name_which_is_somebody_elses_is_left_alone(catalog: Catalog, kubernetes: Api) -> None:
    theirs = {"apiVersion": "imagegen.dev/v1alpha1", "kind": "ImageModel", "metadata": {"name": "acme-one"}}
    before = kubernetes.apply(theirs | {"spec": entry("acme/one", replicas=7)})
    problems, writes = catalog.sync(entry("acme/one"), entry("acme/two"))
    assert writes == ["apply acme-two"]
    assert problems == [
        (
            "ImageModel acme-one is not of this catalog and is left as it is; "
            "the label imagegen.dev/catalog=catalog-tests would hand it over"
        )
    ]
    assert kubernetes.get("im", "acme-one") == before
    kubernetes.patch("im", "acme-one", {"metadata": {"labels": LABELS}})
    assert catalog.sync(entry("acme/one", replicas=1), entry("acme/two"))[0] == []
    assert kubernetes.get("im", "acme-one")["spec"]["replicas"] == 7, "what they wrote stays theirs"


def test_of_two_ids_with_one_object_name_the_first_has_it(catalog: Catalog, kubernetes: Api) -> None:
    problems, _ = catalog.sync(entry("a/b-c"), entry("a-b/c"), entry("acme/one"))
    assert problems == ["a-b/c: left out, since its object name a-b-c is that of a/b-c already"]
    models = kubernetes.list("im")
    assert [model["spec"]["id"] for model in models] == ["a/b-c", "acme/one"]


def test_an_entry_that_the_api_server_refuses_keeps_no_other_one_back(catalog: Catalog, kubernetes: Api) -> None:
    catalog.sync(entry("acme/old"))
    taken = {"name": "acme-one", "namespace": kubernetes.namespace, "labels": LABELS}
    api_version = {"apiVersion": "imagegen.dev/v1alpha1", "kind": "ImageModel"}
    claim = {"size": "1Gi", "accessMode": "ReadWriteOnce"}
    kubernetes.apply(api_version | {"metadata": taken, "spec": entry("acme/one", cache=claim)})
    # Each by itself is right; with the person's cache, three replicas are not.
    problems, writes = catalog.sync(entry("acme/one", replicas=3), entry("acme/two"))
    assert writes == ["apply acme-one", "apply acme-two", "delete acme-old"]
    (problem,) = problems
    assert problem.startswith("ImageModel acme-one: ")
    assert "spec.replicas" in problem


class MountedFile:
    """A file of a ConfigMap as a kubelet mounts it: a link to a file in a folder that is a link, changed at once."""

    def __init__(self, file: Path) -> None:
        self._link = file.with_name("..data")
        self._file = file
        self._versions = 0
        file.symlink_to(Path("..data") / file.name)

    def hold(self, *entries: Mapping[str, Any], content: bytes = b"") -> None:
        """Change to a version of the file with these entries, or with ``content``."""
        self._versions += 1
        folder = self._file.with_name(f"..{self._versions}")
        folder.mkdir()
        (folder / self._file.name).write_bytes(content or json.dumps(entries).encode())
        new = self._link.with_name("..new")
        new.symlink_to(folder)
        new.rename(self._link)

    def vanish(self) -> None:
        """Have no file."""
        self._link.unlink()


@pytest.fixture
def causes(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return a function that gives what the log said was wrong with the catalog so far."""
    return lambda: [each.__dict__["cause"] for each in caplog.records if each.name == "imagegen.catalog"]


def test_the_file_is_followed_and_what_is_missing_or_wrong_deletes_nothing(
    catalog: Catalog, kubernetes: Api, causes: Callable[[], list[str]]
) -> None:
    file, one, two = MountedFile(catalog.file), entry("acme/one"), entry("acme/two")

    def models() -> list[str]:
        return [model["metadata"]["name"] for model in kubernetes.list("im")]

    def story() -> None:
        wait_until(catalog.failed, SECONDS, "a missing catalog to be seen")
        file.hold(one)
        wait_until(lambda: models() == ["acme-one"] and not catalog.failed(), SECONDS, "the first catalog")
        file.hold(one, two)
        wait_until(lambda: models() == ["acme-one", "acme-two"], SECONDS, "the second catalog")
        file.vanish()
        wait_until(catalog.failed, SECONDS, "a catalog that went to be seen")
        file.hold(one, two)
        wait_until(lambda: not catalog.failed(), SECONDS, "the same catalog to be well again")
        file.hold(content=b'[{"id": "acme/one"')
        wait_until(catalog.failed, SECONDS, "a broken catalog to be seen")
        assert models() == ["acme-one", "acme-two"]
        file.hold(two)
        wait_until(lambda: models() == ["acme-two"] and not catalog.failed(), SECONDS, "an entry to leave")
        file.hold(content=b"[]")
        wait_until(lambda: models() == [], SECONDS, "an empty catalog")

    catalog.run_during(story)
    missing = f"{catalog.file}: cannot be read: No such file or directory; no ImageModel is changed"
    first, second, broken = causes()
    assert (first, second) == (missing, missing)
    assert broken.startswith(f"{catalog.file}: not JSON: ")
    assert broken.endswith("; no ImageModel is changed")


def test_a_problem_that_stays_is_told_once(catalog: Catalog, kubernetes: Api, causes: Callable[[], list[str]]) -> None:
    file = MountedFile(catalog.file)
    names = ["acme/one", "acme/two", "acme/three"]

    def hold(count: int) -> None:
        file.hold(entry("a/b-c"), entry("a-b/c"), *map(entry, names[:count]))

    def story() -> None:
        for count in range(1, len(names) + 1):
            hold(count)
            wait_until(lambda count=count: len(kubernetes.list("im")) == 1 + count, SECONDS, "the next catalog")
            wait_until(catalog.failed, SECONDS, "the metric")

    hold(0)
    catalog.run_during(story)
    assert causes() == ["a-b/c: left out, since its object name a-b-c is that of a/b-c already"]
