"""Reads an ImageModel as the API server sends it."""

from typing import Any

import msgspec

from imagegen_contract.conditions import ImageModelStatus
from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.validation import violations
from imagegen_operator.objects import Manifest, Model


def parse_model(manifest: Manifest) -> Model:
    """Return the ImageModel in ``manifest``; a spec that cannot be read becomes a problem in words, never an error.

    That happens when the resource definition is of a newer version than this operator.
    """
    metadata: dict[str, Any] = manifest["metadata"]
    spec, problem = _spec(manifest.get("spec") or {})
    return Model(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 1),
        created=metadata.get("creationTimestamp", ""),
        annotations=metadata.get("annotations") or {},
        spec=spec,
        problem=problem,
        status=_status(manifest.get("status") or {}),
        deleting="deletionTimestamp" in metadata,
    )


def _spec(document: dict[str, Any]) -> tuple[ImageModelSpec | None, str]:
    try:
        return msgspec.convert(document, ImageModelSpec), ""
    except msgspec.ValidationError:
        broken = violations(document, ImageModelSpec)
        return None, "; ".join(f"{f'spec.{each.path}' if each.path else 'spec'}: {each.rule}" for each in broken)


def _status(document: dict[str, Any]) -> ImageModelStatus:
    try:
        return msgspec.convert(document, ImageModelStatus)
    except msgspec.ValidationError:
        return ImageModelStatus()  # whatever stands there is written anew
