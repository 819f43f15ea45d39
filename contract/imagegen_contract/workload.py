"""How a model's pods run in Kubernetes: cache, rollout, token and overrides of the pod.

Names and meanings are those of Kubernetes' own fields where there is one. A server alone accepts these fields and does
not use them, so that one catalog serves a laptop and a cluster.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

# `allowed` says in words what a pattern means: in errors, and in the rules of the CRD. Patterns end with \Z: `$` would
# also match before a newline at the end. The schema of the CRD writes it as `$`, which has that exact meaning there.
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
OBJECT_NAME = rf"{_LABEL}(\.{_LABEL})*"
_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"

ObjectName = Annotated[
    str,
    Meta(
        pattern=rf"^{OBJECT_NAME}\Z",
        max_length=253,
        extra={"allowed": "the name of a Kubernetes object: a-z, 0-9, - and ."},
    ),
]
Quantity = (
    Annotated[int, Meta(ge=0, le=2**53)]
    | Annotated[
        str,
        Meta(
            pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?\Z",
            max_length=32,
            extra={"allowed": "a quantity of Kubernetes, such as 500m, 2 or 16Gi"},
        ),
    ]
)
ExtendedResourceName = Annotated[
    str,
    Meta(
        pattern=rf"^{OBJECT_NAME}/{_NAME}\Z",
        max_length=253,
        extra={"allowed": "an extended resource, such as nvidia.com/gpu or nvidia.com/mig-1g.5gb"},
    ),
]
ResourceName = Annotated[
    str,
    Meta(
        pattern=rf"^(cpu|memory|ephemeral-storage|hugepages-[1-9][0-9]*[KMGT]i|{OBJECT_NAME}/{_NAME})\Z",
        max_length=253,
        extra={"allowed": "cpu, memory, ephemeral-storage, hugepages-SIZE or an extended resource with its domain"},
    ),
]
LabelKey = Annotated[
    str,
    Meta(
        pattern=rf"^({OBJECT_NAME}/)?{_NAME}\Z",
        max_length=317,
        extra={"allowed": "the key of a label: letters, digits, - _ . with a domain and / before it or not"},
    ),
]
LabelValue = Annotated[
    str,
    Meta(
        pattern=rf"^({_NAME})?\Z",
        max_length=63,
        extra={"allowed": "the value of a label: up to 63 letters, digits, - _ . or nothing"},
    ),
]
TaintKey = Annotated[
    str,
    Meta(
        pattern=rf"^(({OBJECT_NAME}/)?{_NAME})?\Z",
        max_length=317,
        extra={"allowed": "the key of a taint: letters, digits, - _ . with a domain and / before it or not"},
    ),
]


class Cache(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Where a model's pods keep downloads: an existing claim (``claimName``), or one to create (``size``)."""

    claim_name: Annotated[
        ObjectName | None, Meta(description="Existing PersistentVolumeClaim in the same namespace; it is only mounted")
    ] = None
    size: Annotated[Quantity | None, Meta(description="Size of a PersistentVolumeClaim to create; it may grow")] = None
    storage_class_name: Annotated[
        ObjectName | None, Meta(description="StorageClass of the claim to create; the cluster's default when left out")
    ] = None
    access_mode: Annotated[
        Literal["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"],
        Meta(description="Access mode of the claim to create; several pods need ReadWriteMany"),
    ] = "ReadWriteOnce"
    reclaim_policy: Annotated[
        Literal["Delete", "Retain"],
        Meta(description="Whether the created claim goes with the ImageModel or stays for the next one of that name"),
    ] = "Delete"

    def __post_init__(self) -> None:
        """Check that there is one claim."""
        if (self.claim_name is None) == (self.size is None):
            raise ValueError("cache needs one of claimName (an existing claim) and size (a claim to create)")
        if self.claim_name is not None and self.storage_class_name is not None:
            raise ValueError("cache.storageClassName is for a claim to create; leave it out beside claimName")
        if self.size is not None and not re.search("[1-9]", str(self.size)):
            raise ValueError(f"cache.size is {self.size}; it must be above 0")


class Rollout(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """How pods are replaced."""

    max_surge: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="Pods above the wanted number during a rollout; 0 needs no spare GPU and replaces one by one",
        ),
    ] = 0
    drain_seconds: Annotated[
        int, Meta(ge=1, le=3600, description="Time for a pod that goes to finish what it has accepted")
    ] = 60
    load_timeout_seconds: Annotated[
        int, Meta(ge=60, le=86400, description="Time for one try to load the model, the download included")
    ] = 3600


class SecretKeyRef(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One value of a Secret in the same namespace."""

    name: Annotated[ObjectName, Meta(description="Name of the Secret")]
    key: Annotated[
        str,
        Meta(
            pattern=r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*\Z",
            max_length=253,
            description="Key in the Secret",
            extra={"allowed": "a key of a Secret: letters, digits, - _ ."},
        ),
    ] = "token"


class Resources(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Compute resources of the container, as in a Pod."""

    limits: Annotated[dict[ResourceName, Quantity], Meta(max_length=32, description="Most that the pod may use")] = (
        msgspec.field(default_factory=dict[str, int | str])
    )
    requests: Annotated[
        dict[ResourceName, Quantity], Meta(max_length=32, description="What the scheduler sets aside")
    ] = msgspec.field(default_factory=dict[str, int | str])


class EnvironmentVariable(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A variable of the container."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z",
            max_length=253,
            description="Its name",
            extra={"allowed": "the name of a variable: letters, digits and _, no digit first"},
        ),
    ]
    value: Annotated[str, Meta(max_length=32768, description="Its value; no secrets here")] = ""


class Toleration(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A taint that the pods tolerate, as in a Pod."""

    key: Annotated[TaintKey, Meta(description="Taint key; empty with Exists tolerates every taint")] = ""
    operator: Annotated[Literal["Exists", "Equal"], Meta(description="Whether the value matters")] = "Equal"
    value: Annotated[LabelValue, Meta(description="Taint value, with Equal")] = ""
    effect: Annotated[
        Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"], Meta(description="Taint effect; empty is all")
    ] = ""
    toleration_seconds: Annotated[
        Annotated[int, Meta(ge=0, le=2**53)] | None, Meta(description="How long, with NoExecute; always when left out")
    ] = None

    def __post_init__(self) -> None:
        """Check what Kubernetes would refuse in a pod."""
        if not self.key and self.operator != "Exists":
            raise ValueError("a toleration without key tolerates every taint, and needs operator Exists")
        if self.value and self.operator == "Exists":
            raise ValueError("a toleration with operator Exists has no value")
        if self.toleration_seconds is not None and self.effect != "NoExecute":
            raise ValueError("tolerationSeconds needs effect NoExecute")


class Pod(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Overrides of a model's pods. Each field replaces the operator's own value as a whole."""

    image: Annotated[
        Annotated[
            str,
            Meta(pattern=r"^[!-~]+\Z", max_length=512, extra={"allowed": "an image reference, which has no spaces"}),
        ]
        | None,
        Meta(description="Image of imagegen-server; the operator's own when left out"),
    ] = None
    resources: Annotated[
        Resources | None, Meta(description="Compute resources besides the GPUs, which spec.gpu asks for")
    ] = None
    env: Annotated[
        tuple[EnvironmentVariable, ...],
        Meta(
            max_length=64,
            description="More variables; one of the same name wins over the operator's",
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    node_selector: Annotated[
        dict[LabelKey, LabelValue],
        Meta(
            max_length=32,
            description="Labels that a node must have",
            extra_json_schema={"x-kubernetes-map-type": "atomic"},
        ),
    ] = msgspec.field(default_factory=dict[str, str])
    tolerations: Annotated[
        tuple[Toleration, ...],
        Meta(
            max_length=32,
            description="Taints that are tolerated",
            extra_json_schema={"x-kubernetes-list-type": "atomic"},
        ),
    ] = ()
    affinity: Annotated[
        dict[
            Literal["nodeAffinity", "podAffinity", "podAntiAffinity"],
            Annotated[dict[str, Any], Meta(description="As in a Pod")],
        ],
        Meta(description="Affinity of a Pod, as Kubernetes writes it"),
    ] = msgspec.field(default_factory=dict[Any, dict[str, Any]])
    runtime_class_name: Annotated[ObjectName | None, Meta(description="RuntimeClass, such as nvidia")] = None
    priority_class_name: Annotated[ObjectName | None, Meta(description="PriorityClass of the pods")] = None

    def __post_init__(self) -> None:
        """Check that each variable is there once."""
        if twice := repeated(variable.name for variable in self.env):
            raise ValueError(f"pod.env holds {twice} more than once")


def repeated(names: Iterable[str]) -> str:
    """Return the first name that came before, "" when there is none."""
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), "")
