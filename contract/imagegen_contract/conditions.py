"""The conditions of an ImageModel's status: their types, and every reason they may give."""

from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

ConditionStatus = Literal["True", "False", "Unknown"]
PodCount = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class ConditionType(StrEnum):
    """What a condition is about; explanations.py has the words. An ImageModel has them all from the first visit on."""

    READY = "Ready"
    AVAILABLE = "Available"
    PROGRESSING = "Progressing"
    RECONCILED = "Reconciled"
    SCHEDULED = "Scheduled"
    WEIGHTS_READY = "WeightsReady"
    DEGRADED = "Degraded"


class Reason(StrEnum):
    """Why a condition has its status, for programs; explanations.py has the words for people."""

    # Ready, Available and Progressing
    ALL_REPLICAS_READY = "AllReplicasReady"
    SCALED_TO_ZERO = "ScaledToZero"
    REPLICAS_NOT_READY = "ReplicasNotReady"
    MINIMUM_REPLICAS_AVAILABLE = "MinimumReplicasAvailable"
    NO_REPLICA_AVAILABLE = "NoReplicaAvailable"
    STARTING = "Starting"
    ROLLING_OUT = "RollingOut"
    COMPLETE = "Complete"
    STALLED = "Stalled"
    NOT_DEPLOYED = "NotDeployed"

    # Reconciled
    APPLIED = "Applied"
    INVALID_SPEC = "InvalidSpec"
    DUPLICATE_ID = "DuplicateId"
    NAME_CONFLICT = "NameConflict"
    IMMUTABLE_FIELD = "ImmutableField"
    APPLY_FAILED = "ApplyFailed"

    # Scheduled
    SCHEDULED = "Scheduled"
    NO_PODS = "NoPods"
    WAITING_FOR_SCHEDULER = "WaitingForScheduler"
    INSUFFICIENT_GPU = "InsufficientGPU"
    UNSCHEDULABLE = "Unschedulable"

    # WeightsReady
    LOADED = "Loaded"
    WAITING_FOR_POD = "WaitingForPod"
    DOWNLOADING = "Downloading"
    LOADING = "Loading"

    # Degraded
    AS_EXPECTED = "AsExpected"
    CRASH_LOOPING = "CrashLooping"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CONTAINER_CONFIG_INVALID = "ContainerConfigInvalid"
    POD_REFUSED = "PodRefused"
    EVICTED = "Evicted"
    OUT_OF_MEMORY = "OutOfMemory"
    WEIGHTS_FAILED = "WeightsFailed"
    GPU_UNUSABLE = "GPUUnusable"


class Condition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One condition, as Kubernetes' own."""

    type: Annotated[str, Meta(max_length=316, description="What it is about, such as Ready")]
    status: Annotated[ConditionStatus, Meta(description="Whether it holds")]
    reason: Annotated[str, Meta(max_length=1024, description="Why, for programs; docs/conditions.md lists all")]
    message: Annotated[str, Meta(max_length=32768, description="Why and what to do, for people")]
    observed_generation: Annotated[
        int, Meta(ge=0, le=2**53, description="The generation of the spec that it speaks of")
    ]
    last_transition_time: Annotated[
        str,
        Meta(
            max_length=64,
            description="When status changed last, RFC 3339 in UTC with whole seconds",
            extra_json_schema={"format": "date-time"},
        ),
    ]


class ImageModelStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The status of an ImageModel, as the operator writes it. Decoding tolerates fields of other versions."""

    observed_generation: Annotated[
        int, Meta(ge=0, le=2**53, description="The generation of the spec that this status speaks of")
    ] = 0
    conditions: Annotated[
        tuple[Condition, ...],
        Meta(
            max_length=32,
            description="What holds and what does not, each with reason and words",
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = ()
    replicas: Annotated[PodCount, Meta(description="Pods that there are")] = 0
    updated_replicas: Annotated[PodCount, Meta(description="Pods that are as the spec says now")] = 0
    ready_replicas: Annotated[PodCount, Meta(description="Pods that have loaded the model")] = 0
    available_replicas: Annotated[PodCount, Meta(description="Pods that serve")] = 0
    selector: Annotated[
        str, Meta(max_length=1024, description="Label selector of the pods as text, for kubectl scale and autoscalers")
    ] = ""
    server_image: Annotated[
        str,
        Meta(
            max_length=4096,
            description="The pinned image of imagegen-server: it moves only when somebody asks for it",
        ),
    ] = ""
    revision: Annotated[str, Meta(max_length=1024, description="The commit of the weights that a pod loaded")] = ""
    device: Annotated[str, Meta(max_length=1024, description="The device that a pod loaded them on")] = ""
    load_seconds: Annotated[float, Meta(ge=0, description="Seconds that the last load took, the download included")] = (
        0.0
    )
