"""Object names, headers and ports: everything that two programs must spell alike."""

import hashlib
import re

PUBLIC_PORT = 8000
MANAGEMENT_PORT = 9090

REQUEST_ID_HEADER = "x-request-id"
REQUEST_TIMEOUT_HEADER = "x-request-timeout"
SHOULD_RETRY_HEADER = "x-should-retry"
MODEL_HEADER = "x-imagegen-model"
STARTED_HEADER = "x-imagegen-started"
FREE_ROWS_HEADER = "x-imagegen-free-rows"
WORK_SECONDS_HEADER = "x-imagegen-work-seconds"
DEVICE_SECONDS_HEADER = "x-imagegen-device-seconds"
"""What the request itself took on the device, all its pictures together."""

API_GROUP = "imagegen.dev"
API_VERSION = "v1alpha1"
KIND = "ImageModel"
PLURAL = "imagemodels"

OPERATOR = "imagegen-operator"
"""Field manager of children and status; the value of `app.kubernetes.io/managed-by`."""
CATALOG_MANAGER = "imagegen-catalog"
"""Field manager of the ImageModels that come from a catalog file."""

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
NAME_LABEL = "app.kubernetes.io/name"
COMPONENT_LABEL = "app.kubernetes.io/component"
MODEL_LABEL = f"{API_GROUP}/model"
"""Object name of the ImageModel: the whole selector of a model's pods, immutable."""
CATALOG_LABEL = f"{API_GROUP}/catalog"
"""The release whose catalog an ImageModel comes from, and which may delete it."""
MODEL_ID_ANNOTATION = f"{API_GROUP}/model-id"
"""The id of the model, which as a label could not have a slash."""
SERVER_IMAGE_ANNOTATION = f"{API_GROUP}/server-image"
"""On an ImageModel: moves its pods to this image of imagegen-server."""
APPLIED_ANNOTATION = f"{API_GROUP}/applied"
"""On children: digest of what the operator applied, so that it sees what it would no longer write."""
RECLAIM_ANNOTATION = f"{API_GROUP}/reclaim-policy"
"""On claims that stay when their ImageModel goes."""

MAX_OBJECT_NAME = 40
"""Longest name of an ImageModel, in characters: the names of its children and pods are longer."""
_HASH_CHARACTERS = 8


def object_name(model_id: str) -> str:
    """Return the Kubernetes object name of a model id: a DNS label of at most 40 characters.

    Lower-cased, every character other than a-z and 0-9 becomes ``-``; a longer name is cut and gets a hash of the id.
    A name that starts with a digit gets ``model-`` before it: Services are named by RFC 1035, which wants a letter.
    """
    label = re.sub(r"[^a-z0-9]", "-", model_id.lower()).strip("-")
    if not label[:1].isalpha():
        label = f"model-{label}".strip("-")
    if len(label) <= MAX_OBJECT_NAME:
        return label
    digest = hashlib.sha256(model_id.encode()).hexdigest()[:_HASH_CHARACTERS]
    return f"{label[: MAX_OBJECT_NAME - _HASH_CHARACTERS - 1].rstrip('-')}-{digest}"
