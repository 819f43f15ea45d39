"""ImageModels out of a catalog's entries, as the operator applies them and `imagegen models to-crd` prints them."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from imagegen_contract import names
from imagegen_contract.catalog import parse_catalog
from imagegen_contract.edited_text import json_text


def read_entries(content: bytes, where: str) -> list[dict[str, Any]]:
    """Return a catalog's entries as they are written, without defaults; raise CatalogError when one is wrong.

    What an entry leaves out is nobody's, so that a person or an autoscaler can set it on the ImageModel.
    """
    parse_catalog(content, where)
    return msgspec.json.decode(json_text(content))


def image_models(
    entries: Iterable[Mapping[str, Any]], *, namespace: str = "", labels: Mapping[str, str] | None = None
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the ImageModels of ``entries`` by object name, and problems in words.

    Ids may differ and their object names not (``a/b`` and ``a-b``): the first has the name, the second is a problem.
    """
    models: dict[str, dict[str, Any]] = {}
    problems: list[str] = []
    for entry in entries:
        model = image_model(entry, namespace=namespace, labels=labels)
        first = models.setdefault(model["metadata"]["name"], model)
        if first is not model:
            name, taken_by = model["metadata"]["name"], first["spec"]["id"]
            problems.append(f"{entry['id']}: left out, since its object name {name} is that of {taken_by} already")
    return models, problems


def image_model(
    entry: Mapping[str, Any], *, namespace: str = "", labels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the ImageModel of one entry, which is its spec."""
    metadata: dict[str, Any] = {"name": names.object_name(entry["id"])}
    if namespace:
        metadata["namespace"] = namespace
    if labels:
        metadata["labels"] = dict(labels)
    return {
        "apiVersion": f"{names.API_GROUP}/{names.API_VERSION}",
        "kind": names.KIND,
        "metadata": metadata,
        "spec": dict(entry),
    }
