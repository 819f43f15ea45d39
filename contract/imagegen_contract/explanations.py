"""What each condition means, which reasons it may have, and what there is to do about each reason.

docs/conditions.md is made from here, so that what a person reads beside a reason is said once.
"""

import msgspec

from imagegen_contract.conditions import ConditionStatus, ConditionType, Reason


class Explanation(msgspec.Struct, frozen=True):
    """The cause of a reason, and what to do."""

    cause: str
    remedy: str = "Nothing."


MEANINGS: dict[ConditionType, str] = {
    ConditionType.READY: "The summary: all wanted pods serve what the spec says.",
    ConditionType.AVAILABLE: "One pod or more serves.",
    ConditionType.PROGRESSING: "Pods are being started or replaced.",
    ConditionType.RECONCILED: "The operator has written what the spec asks for.",
    ConditionType.SCHEDULED: "All pods have a node.",
    ConditionType.WEIGHTS_READY: "The weights are on the device of every pod.",
    ConditionType.DEGRADED: "A pod cannot do its work until somebody does something.",
}
"""What a condition says while it is True."""

EXPLANATIONS: dict[Reason, Explanation] = {
    Reason.ALL_REPLICAS_READY: Explanation(
        "All wanted pods are of the newest template and ready, and no other is left.",
    ),
    Reason.SCALED_TO_ZERO: Explanation(
        "`spec.replicas` is 0 and no pod is left.",
        "Raise `spec.replicas` to have it served.",
    ),
    Reason.REPLICAS_NOT_READY: Explanation(
        "Pods have the model on the device but do not answer their readiness probe.",
        "Wait a moment. If it stays, read the pod's log, and see that no network policy keeps the kubelet away.",
    ),
    Reason.MINIMUM_REPLICAS_AVAILABLE: Explanation("One pod or more serves."),
    Reason.NO_REPLICA_AVAILABLE: Explanation("No pod serves.", "See why `Ready` is False."),
    Reason.STARTING: Explanation("Pods are being started and are on their way.", "Wait."),
    Reason.ROLLING_OUT: Explanation(
        "Pods are being replaced by those of a newer template, or the last ones finish their work.",
        "Wait.",
    ),
    Reason.COMPLETE: Explanation("Nothing is being started or replaced."),
    Reason.STALLED: Explanation(
        "No pod became ready within the Deployment's `progressDeadlineSeconds`.",
        "The other conditions say what keeps them. The rollout goes on by itself when that is mended.",
    ),
    Reason.NOT_DEPLOYED: Explanation(
        "There is no Deployment, because the spec was refused or could not be written.",
        "See `Reconciled`.",
    ),
    Reason.APPLIED: Explanation("All objects are as the spec asks for."),
    Reason.INVALID_SPEC: Explanation(
        "The operator cannot read the spec: the definition is of another version. Pods that run go on.",
        "Correct the field that is named, or bring operator and resource definition to one version.",
    ),
    Reason.DUPLICATE_ID: Explanation(
        "An older ImageModel has this id or alias.",
        "Take another id or alias, or remove the other ImageModel.",
    ),
    Reason.NAME_CONFLICT: Explanation(
        "An object that is not the operator's has a name that a child needs. It is never taken over.",
        "Remove that object, or give the ImageModel another name.",
    ),
    Reason.IMMUTABLE_FIELD: Explanation(
        "A change of the claim that Kubernetes does not allow. All else was written.",
        "Set `spec.cache` back, or delete the claim to have it made anew; what it holds is downloaded again.",
    ),
    Reason.APPLY_FAILED: Explanation(
        "The API server refused a write or did not answer. Pods that run go on, and stay Ready.",
        "It is tried again by itself. If it stays: the message says whether it is rights, a quota or a policy.",
    ),
    Reason.SCHEDULED: Explanation("All pods have a node."),
    Reason.NO_PODS: Explanation("No pod has been made yet.", "Wait. If it stays, `Degraded` and `Reconciled` say why."),
    Reason.WAITING_FOR_SCHEDULER: Explanation(
        "The scheduler has not looked at a pod yet, or a pod waits for the place of the one that it replaces.",
        "Wait: a pod that goes finishes its work first, at most `spec.rollout.drainSeconds`.",
    ),
    Reason.INSUFFICIENT_GPU: Explanation(
        "No node has as many free GPUs of `spec.gpu.resourceName` as a pod needs.",
        "Add a node, scale another model down, or lower `spec.gpu.count`.",
    ),
    Reason.UNSCHEDULABLE: Explanation(
        "No node suits a pod: the message has the scheduler's words.",
        "Compare `spec.pod` with the nodes' labels, taints and room; see that the claim of `spec.cache` is bound.",
    ),
    Reason.LOADED: Explanation("The weights are on the device of every pod."),
    Reason.WAITING_FOR_POD: Explanation(
        "A pod does not run yet, or its server has not answered yet.",
        "Wait; `Scheduled` and `Degraded` say what keeps it.",
    ),
    Reason.DOWNLOADING: Explanation(
        "The weights are being downloaded: how far, and how long it takes.",
        "Wait. A cache (`spec.cache`) saves it at the next start.",
    ),
    Reason.LOADING: Explanation("The server starts, or brings the weights onto the device.", "Wait."),
    Reason.AS_EXPECTED: Explanation("No pod needs help. One that is on its way does not."),
    Reason.CRASH_LOOPING: Explanation(
        "The server of a pod ends again and again: the message has its exit code and its last log line.",
        "`kubectl logs POD --previous` has the rest. Wrong settings come from `spec.pod.env`.",
    ),
    Reason.IMAGE_PULL_FAILED: Explanation(
        "The kubelet cannot get the image: the message has both.",
        "Correct `spec.pod.image`; credentials come from the operator's setting `image_pull_secrets`.",
    ),
    Reason.CONTAINER_CONFIG_INVALID: Explanation(
        "A container cannot be made or started: often a Secret or a key in it is missing.",
        "Make what the message names, such as the Secret of `spec.hubTokenSecretRef`. It goes on by itself.",
    ),
    Reason.POD_REFUSED: Explanation(
        "The API server (a quota, Pod Security, an admission policy) or a node refuses pods.",
        "Do what the message says: raise the quota, change the policy, or mend the node's device plugin.",
    ),
    Reason.EVICTED: Explanation(
        "A node ran short of disk or memory and put a pod out.",
        "Without `spec.cache` downloads are on the node's own disk: give the model a cache, or a larger node.",
    ),
    Reason.OUT_OF_MEMORY: Explanation(
        "The kernel killed the server at its memory limit, or the device has no room for the model.",
        "Raise `spec.pod.resources.limits.memory`; on the device it is a larger GPU that helps.",
    ),
    Reason.WEIGHTS_FAILED: Explanation(
        "The server cannot load the weights; its words follow. What may pass it tries again by itself.",
        "Accept the terms, set `spec.hubTokenSecretRef` or correct `spec.source`. For terms, tokens and missing files "
        "a pod looks again every 5 minutes; delete it to have that at once.",
    ),
    Reason.GPU_UNUSABLE: Explanation(
        "A pod has a GPU that cannot be used: driver, device plugin or runtime class.",
        "See that the node's runtime is NVIDIA's, or set `spec.pod.runtimeClassName`. The log has the driver's words.",
    ),
}

_NO_PLACE = (Reason.WAITING_FOR_SCHEDULER, Reason.INSUFFICIENT_GPU, Reason.UNSCHEDULABLE)

_TROUBLES = (
    Reason.CRASH_LOOPING,
    Reason.IMAGE_PULL_FAILED,
    Reason.CONTAINER_CONFIG_INVALID,
    Reason.POD_REFUSED,
    Reason.EVICTED,
    Reason.OUT_OF_MEMORY,
    Reason.WEIGHTS_FAILED,
    Reason.GPU_UNUSABLE,
)

REASONS: dict[ConditionType, dict[ConditionStatus, tuple[Reason, ...]]] = {
    ConditionType.READY: {
        "True": (Reason.ALL_REPLICAS_READY, Reason.SCALED_TO_ZERO),
        "False": (
            Reason.INVALID_SPEC,
            Reason.DUPLICATE_ID,
            Reason.NAME_CONFLICT,
            Reason.APPLY_FAILED,
            *_TROUBLES,
            *_NO_PLACE,
            Reason.DOWNLOADING,
            Reason.LOADING,
            Reason.REPLICAS_NOT_READY,
            Reason.STARTING,
            Reason.ROLLING_OUT,
            Reason.STALLED,
            Reason.NOT_DEPLOYED,
        ),
    },
    ConditionType.AVAILABLE: {
        "True": (Reason.MINIMUM_REPLICAS_AVAILABLE,),
        "False": (Reason.NO_REPLICA_AVAILABLE, Reason.SCALED_TO_ZERO),
    },
    ConditionType.PROGRESSING: {
        "True": (Reason.STARTING, Reason.ROLLING_OUT),
        "False": (Reason.COMPLETE, Reason.SCALED_TO_ZERO, Reason.STALLED, Reason.NOT_DEPLOYED),
    },
    ConditionType.RECONCILED: {
        "True": (Reason.APPLIED,),
        "False": (
            Reason.INVALID_SPEC,
            Reason.DUPLICATE_ID,
            Reason.NAME_CONFLICT,
            Reason.IMMUTABLE_FIELD,
            Reason.APPLY_FAILED,
        ),
    },
    ConditionType.SCHEDULED: {
        "True": (Reason.SCHEDULED,),
        "False": _NO_PLACE,
        "Unknown": (Reason.NO_PODS, Reason.SCALED_TO_ZERO),
    },
    ConditionType.WEIGHTS_READY: {
        "True": (Reason.LOADED,),
        "False": (Reason.WAITING_FOR_POD, Reason.DOWNLOADING, Reason.LOADING, Reason.WEIGHTS_FAILED),
        "Unknown": (Reason.SCALED_TO_ZERO,),
    },
    ConditionType.DEGRADED: {
        "True": _TROUBLES,
        "False": (Reason.AS_EXPECTED,),
    },
}
"""Every reason that a condition may have, by its status."""
