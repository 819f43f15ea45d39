"""The kinds of objects that the operator reads and writes, and where the API server has them."""

from enum import StrEnum

import msgspec

from imagegen_contract import names


class Kind(StrEnum):
    """A kind, by the name that manifests give it."""

    IMAGE_MODEL = names.KIND
    DEPLOYMENT = "Deployment"
    SERVICE = "Service"
    CLAIM = "PersistentVolumeClaim"
    POD = "Pod"
    LEASE = "Lease"
    EVENT = "Event"


class Resource(msgspec.Struct, frozen=True):
    """Where a kind is served: API group ("" is core), version and plural."""

    group: str
    version: str
    plural: str

    @property
    def api_version(self) -> str:
        """What manifests write as ``apiVersion``."""
        return f"{self.group}/{self.version}" if self.group else self.version


RESOURCES = {
    Kind.IMAGE_MODEL: Resource(names.API_GROUP, names.API_VERSION, names.PLURAL),
    Kind.DEPLOYMENT: Resource("apps", "v1", "deployments"),
    Kind.SERVICE: Resource("", "v1", "services"),
    Kind.CLAIM: Resource("", "v1", "persistentvolumeclaims"),
    Kind.POD: Resource("", "v1", "pods"),
    Kind.LEASE: Resource("coordination.k8s.io", "v1", "leases"),
    Kind.EVENT: Resource("events.k8s.io", "v1", "events"),
}

CHILDREN = (Kind.DEPLOYMENT, Kind.SERVICE, Kind.CLAIM)
"""What the operator writes for an ImageModel."""

WATCHED = (Kind.IMAGE_MODEL, *CHILDREN, Kind.POD)

OWN_ONLY = f"{names.MANAGED_BY_LABEL}={names.OPERATOR}"
"""Label selector of children and pods: others' objects are not even sent."""


def label_selector(kind: Kind) -> str:
    """Return the label selector with which ``kind`` is listed and watched, "" for all."""
    return "" if kind is Kind.IMAGE_MODEL else OWN_ONLY
