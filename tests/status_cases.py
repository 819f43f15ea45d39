"""Situations of an ImageModel, and what its conditions are to say: the names of the cases read as rules."""

from typing import Any, NamedTuple

import msgspec

from imagegen_contract.conditions import ConditionStatus, ConditionType, Reason
from imagegen_contract.load_failures import TRANSIENT, LoadFailure
from imagegen_operator.objects import Observed, Outcome
from model_scenes import (
    APPLIED,
    deployment,
    model,
    observed,
    pod,
    restarted,
    server,
    transfer,
    unlooked,
    unschedulable,
    waiting,
    with_sidecar,
)

READY = ConditionType.READY
AVAILABLE = ConditionType.AVAILABLE
PROGRESSING = ConditionType.PROGRESSING
RECONCILED = ConditionType.RECONCILED
SCHEDULED = ConditionType.SCHEDULED
WEIGHTS = ConditionType.WEIGHTS_READY
DEGRADED = ConditionType.DEGRADED

QUOTA = 'pods "m-6967b67c8f-l5h28" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=0, limited: pods=0'


class Case(NamedTuple):
    """A situation; what ``expected`` names is compared by reason, and by words of the message where it has some."""

    observed: Observed
    expected: dict[ConditionType, tuple[ConditionStatus, Reason, str]]
    outcome: Outcome = APPLIED


def refusal(reason: Reason) -> Outcome:
    return Outcome(reason=reason, message=f"words of {reason}")


def degraded(reason: Reason, words: str) -> dict[ConditionType, tuple[ConditionStatus, Reason, str]]:
    """Return what is expected of a model that needs help: Ready says the same."""
    return {DEGRADED: ("True", reason, words), READY: ("False", reason, words)}


def loads(**fields: Any) -> Observed:
    """Return a model whose one pod runs and says so of itself."""
    return observed(pod("running, not ready"), servers={"m-1": server(**fields)})


def fails(reason: LoadFailure, error: str = "words") -> Observed:
    """Return a model whose server cannot load it."""
    if reason in TRANSIENT:
        return loads(reason=reason, error=error, stage="waiting for its next try")
    return loads(state="failed", reason=reason, error=error)


def rolling(*pods: dict[str, Any], **counts: Any) -> Observed:
    """Return a model whose second template is being rolled out."""
    replicas = counts.pop("replicas", 1)
    return observed(*pods, replicas=replicas, rollout=deployment(replicas, generation=2, **counts))


THREE_READY = [pod("ready", f"m-{number}") for number in (1, 2, 3)]
ONE_OF_TWO = observed(pod("ready", "m-1"), pod("crash loop", "m-2"), replicas=2, rollout=deployment(2, ready=1))
DONE = deployment(ready=1, progress="NewReplicaSetAvailable")
STALLED = deployment(progress="ProgressDeadlineExceeded")
OLD_DRAINS = pod("ready", "m-0", template="old", created="11:00", leaving=True)

CASES = {
    # Ready, Available, Progressing
    "all wanted pods are ready": Case(
        observed(*THREE_READY, replicas=3, rollout=deployment(3, ready=3, progress="NewReplicaSetAvailable")),
        {
            READY: ("True", Reason.ALL_REPLICAS_READY, "3 of 3 pods are ready."),
            AVAILABLE: ("True", Reason.MINIMUM_REPLICAS_AVAILABLE, "3 of 3"),
            PROGRESSING: ("False", Reason.COMPLETE, ""),
            RECONCILED: ("True", Reason.APPLIED, ""),
            SCHEDULED: ("True", Reason.SCHEDULED, "3 of 3 pods have a node."),
            WEIGHTS: ("True", Reason.LOADED, "3 of 3"),
            DEGRADED: ("False", Reason.AS_EXPECTED, ""),
        },
    ),
    "the Deployment's own Available is not believed": Case(
        observed(rollout=deployment(pods=0)),
        {
            AVAILABLE: ("False", Reason.NO_REPLICA_AVAILABLE, ""),
            READY: ("False", Reason.STARTING, "0 of 1 pods ready"),
            PROGRESSING: ("True", Reason.STARTING, ""),
            SCHEDULED: ("Unknown", Reason.NO_PODS, ""),
            WEIGHTS: ("False", Reason.WAITING_FOR_POD, ""),
        },
    ),
    "no pods are wanted and none is left": Case(
        observed(replicas=0, rollout=deployment(0)),
        {
            READY: ("True", Reason.SCALED_TO_ZERO, ""),
            AVAILABLE: ("False", Reason.SCALED_TO_ZERO, ""),
            PROGRESSING: ("False", Reason.SCALED_TO_ZERO, ""),
            SCHEDULED: ("Unknown", Reason.SCALED_TO_ZERO, ""),
            WEIGHTS: ("Unknown", Reason.SCALED_TO_ZERO, ""),
            DEGRADED: ("False", Reason.AS_EXPECTED, ""),
        },
    ),
    "no pods are wanted but one finishes its work": Case(
        observed(pod("ready", leaving=True), replicas=0, rollout=deployment(0)),
        {READY: ("False", Reason.ROLLING_OUT, "1 left"), PROGRESSING: ("True", Reason.ROLLING_OUT, "1 left")},
    ),
    "no pods are wanted and the Deployment counts none, but one is known": Case(
        observed(pod("ready"), replicas=0, rollout=deployment(0)), {READY: ("False", Reason.ROLLING_OUT, "1 left")}
    ),
    "a refused pod that is being removed is not waited for": Case(
        observed(pod("refused by its node", leaving=True), replicas=0, rollout=deployment(0)),
        {READY: ("True", Reason.SCALED_TO_ZERO, "")},
    ),
    "what a node once refused is not left of a model that wants no pods": Case(
        observed(pod("refused by its node"), replicas=0, rollout=deployment(0)),
        {READY: ("True", Reason.SCALED_TO_ZERO, "")},
    ),
    "counts of an older spec do not make Ready": Case(
        observed(
            pod("ready"), rollout=deployment(ready=1, generation=2, observed=1, progress="NewReplicaSetAvailable")
        ),
        {READY: ("False", Reason.ROLLING_OUT, "about to be rolled out"), PROGRESSING: ("True", Reason.ROLLING_OUT, "")},
    ),
    "a ready pod of the old template is not enough": Case(
        rolling(*THREE_READY, replicas=3, updated=1, ready=3),
        {
            READY: ("False", Reason.ROLLING_OUT, "1 of 3 pods are made from the newest spec, 3 ready, 2 old ones left"),
            AVAILABLE: ("True", Reason.MINIMUM_REPLICAS_AVAILABLE, ""),
        },
    ),
    "more pods than wanted are not Ready yet": Case(
        rolling(*THREE_READY, replicas=2, pods=3, updated=2, ready=3), {READY: ("False", Reason.ROLLING_OUT, "1 old")}
    ),
    "one pod of two is Available but not Ready": Case(
        ONE_OF_TWO,
        {
            AVAILABLE: ("True", Reason.MINIMUM_REPLICAS_AVAILABLE, "1 of 2 pods serve"),
            READY: ("False", Reason.CRASH_LOOPING, "1 of 2 pods ready. Pod m-2 keeps ending"),
        },
    ),
    "the model is loaded but the pod is not ready": Case(
        observed(pod("running, not ready"), servers={"m-1": server("ready", state="ready")}),
        {READY: ("False", Reason.REPLICAS_NOT_READY, "readiness probe"), WEIGHTS: ("True", Reason.LOADED, "1 of 1")},
    ),
    "that it is loaded but not ready says more than that it is late": Case(
        observed(pod("running, not ready"), rollout=STALLED, servers={"m-1": server("ready", state="ready")}),
        {READY: ("False", Reason.REPLICAS_NOT_READY, ""), PROGRESSING: ("False", Reason.STALLED, "")},
    ),
    "a newer spec is not late because the one before was": Case(
        observed(pod("ready"), rollout=deployment(generation=2, observed=1, progress="ProgressDeadlineExceeded")),
        {PROGRESSING: ("True", Reason.ROLLING_OUT, "")},
    ),
    "nothing became ready in time and nobody says why": Case(
        observed(waiting("ContainerCreating"), rollout=STALLED),
        {
            READY: ("False", Reason.STALLED, "within 3900 s"),
            PROGRESSING: ("False", Reason.STALLED, "0 of 1 pods ready"),
            DEGRADED: ("False", Reason.AS_EXPECTED, ""),
        },
    ),
    "a rollout that is late but complete is complete": Case(
        observed(pod("ready"), rollout=deployment(ready=1, progress="ProgressDeadlineExceeded")),
        {READY: ("True", Reason.ALL_REPLICAS_READY, ""), PROGRESSING: ("False", Reason.COMPLETE, "")},
    ),
    "a pod that is replaced after the rollout was complete is started, not rolled out": Case(
        rolling(waiting("ContainerCreating"), progress="NewReplicaSetAvailable"),
        {PROGRESSING: ("True", Reason.STARTING, ""), READY: ("False", Reason.STARTING, "")},
    ),
    "there is no Deployment although it was written": Case(
        Observed(model=model()),
        {READY: ("False", Reason.NOT_DEPLOYED, ""), AVAILABLE: ("False", Reason.NO_REPLICA_AVAILABLE, "")},
    ),
    # Reconciled
    **{
        f"{reason} with nothing deployed is why it is not Ready": Case(
            Observed(model=model()),
            {
                RECONCILED: ("False", reason, f"words of {reason}"),
                READY: ("False", reason, f"words of {reason}"),
                PROGRESSING: ("False", Reason.NOT_DEPLOYED, ""),
                SCHEDULED: ("Unknown", Reason.NO_PODS, ""),
            },
            refusal(reason),
        )
        for reason in (Reason.INVALID_SPEC, Reason.DUPLICATE_ID, Reason.NAME_CONFLICT, Reason.APPLY_FAILED)
    },
    **{
        f"{reason} leaves a healthy Deployment Ready, and says so": Case(
            observed(pod("ready"), replicas=2, rollout=DONE),
            {
                RECONCILED: ("False", reason, f"words of {reason}"),
                READY: ("True", Reason.ALL_REPLICAS_READY, "1 of 1 pods are ready, as they were before"),
            },
            refusal(reason),
        )
        for reason in (Reason.INVALID_SPEC, Reason.DUPLICATE_ID, Reason.NAME_CONFLICT, Reason.APPLY_FAILED)
    },
    "a claim that cannot change does not keep the rest from being Ready": Case(
        observed(pod("ready"), rollout=DONE),
        {RECONCILED: ("False", Reason.IMMUTABLE_FIELD, ""), READY: ("True", Reason.ALL_REPLICAS_READY, "are ready.")},
        refusal(Reason.IMMUTABLE_FIELD),
    ),
    "a spec that cannot be read leaves its pods as they are": Case(
        Observed(
            model=msgspec.structs.replace(model(), spec=None, problem="spec.x: unknown"),
            deployment=DONE,
            pods=(pod("ready"),),
        ),
        {
            READY: ("True", Reason.ALL_REPLICAS_READY, "as they were before"),
            RECONCILED: ("False", Reason.INVALID_SPEC, ""),
        },
        refusal(Reason.INVALID_SPEC),
    ),
    "a refused spec is told before pods that crash": Case(
        observed(pod("crash loop")),
        {READY: ("False", Reason.DUPLICATE_ID, ""), DEGRADED: ("True", Reason.CRASH_LOOPING, "")},
        refusal(Reason.DUPLICATE_ID),
    ),
    "pods that crash are told before an API server that fails": Case(
        observed(pod("crash loop")), {READY: ("False", Reason.CRASH_LOOPING, "")}, refusal(Reason.APPLY_FAILED)
    ),
    "an API server that fails is told before how far a load is": Case(
        loads(stage="loading weights"),
        {READY: ("False", Reason.APPLY_FAILED, ""), WEIGHTS: ("False", Reason.LOADING, "")},
        refusal(Reason.APPLY_FAILED),
    ),
    # Scheduled
    "no GPU is free": Case(
        observed(pod("no GPU free")),
        {
            SCHEDULED: (
                "False",
                Reason.INSUFFICIENT_GPU,
                "1 of 1 pods have no node: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu. A pod needs 1 of",
            ),
            READY: ("False", Reason.INSUFFICIENT_GPU, "1 Insufficient nvidia.com/gpu."),
            WEIGHTS: ("False", Reason.WAITING_FOR_POD, ""),
            DEGRADED: ("False", Reason.AS_EXPECTED, ""),
        },
    ),
    "another resource than the model's GPU is missing": Case(
        msgspec.structs.replace(observed(pod("no GPU free")), model=model(gpu="nvidia.com/gpu.shared")),
        {SCHEDULED: ("False", Reason.UNSCHEDULABLE, "1 Insufficient nvidia.com/gpu.")},
    ),
    "a resource whose name goes on is another one": Case(
        observed(unschedulable("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.shared.")),
        {SCHEDULED: ("False", Reason.UNSCHEDULABLE, "nvidia.com/gpu.shared.")},
    ),
    "no node matches": Case(
        observed(pod("no node matches")),
        {SCHEDULED: ("False", Reason.UNSCHEDULABLE, "didn't match Pod's node affinity/selector")},
    ),
    "the claim is missing": Case(
        observed(pod("claim missing")),
        {SCHEDULED: ("False", Reason.UNSCHEDULABLE, 'persistentvolumeclaim "absent" not found')},
    ),
    "without a spare GPU the new pod waits for the one that it replaces": Case(
        rolling(OLD_DRAINS, pod("no GPU free")),
        {
            SCHEDULED: ("False", Reason.WAITING_FOR_SCHEDULER, "finish their work before they go (1)"),
            READY: ("False", Reason.WAITING_FOR_SCHEDULER, ""),
            PROGRESSING: ("True", Reason.ROLLING_OUT, "1 of 1 pods are made from the newest spec, 0 ready."),
        },
    ),
    "the scheduler has not looked at the pod": Case(
        observed(unlooked()), {SCHEDULED: ("False", Reason.WAITING_FOR_SCHEDULER, "")}
    ),
    # WeightsReady
    "a download says how far it is and how long it takes": Case(
        loads(stage="fetching weights", progress=transfer(3.2e9, 6.94e9, eta=127)),
        {
            WEIGHTS: ("False", Reason.DOWNLOADING, "3.2 of 6.9 GB, 46 %, about 2 min left."),
            READY: ("False", Reason.DOWNLOADING, "46 %"),
            DEGRADED: ("False", Reason.AS_EXPECTED, ""),
        },
    ),
    "a download without a rate does not say how long it takes": Case(
        loads(progress=transfer(1e6, 2e8)), {WEIGHTS: ("False", Reason.DOWNLOADING, "1.0 of 200.0 MB, 0 %.")}
    ),
    "of several downloads the one furthest behind is told": Case(
        observed(
            pod("ready", "m-1"),
            pod("running, not ready", "m-2"),
            pod("running, not ready", "m-3"),
            replicas=3,
            rollout=deployment(3, ready=1),
            servers={"m-2": server(progress=transfer(8e9, 1e10)), "m-3": server(progress=transfer(2e9, 1e10))},
        ),
        {WEIGHTS: ("False", Reason.DOWNLOADING, "1 of 3 pods have loaded; 2.0 of 10.0 GB, 20 %.")},
    ),
    "a load says its stage": Case(
        loads(stage="loading weights"),
        {WEIGHTS: ("False", Reason.LOADING, "Loading weights."), READY: ("False", Reason.LOADING, "")},
    ),
    "a load that reads from the disk says how far it is, and is no download": Case(
        loads(stage="reading weights", progress=transfer(3.2e9, 6.94e9, eta=127)),
        {
            WEIGHTS: ("False", Reason.LOADING, "Reading weights: 3.2 of 6.9 GB, 46 %, about 2 min left."),
            READY: ("False", Reason.LOADING, "Reading weights: 3.2 of 6.9 GB"),
            DEGRADED: ("False", Reason.AS_EXPECTED, ""),
        },
    ),
    "a pod that downloads is told before one that reads": Case(
        observed(
            pod("running, not ready", "m-1"),
            pod("running, not ready", "m-2"),
            replicas=2,
            rollout=deployment(2, ready=0),
            servers={
                "m-1": server(stage="reading weights", progress=transfer(1e9, 1e10)),
                "m-2": server(stage="fetching weights", progress=transfer(8e9, 1e10)),
            },
        ),
        {WEIGHTS: ("False", Reason.DOWNLOADING, "0 of 2 pods have loaded; 8.0 of 10.0 GB, 80 %.")},
    ),
    "a server that has said nothing is waited for": Case(
        observed(pod("running, not ready")),
        {
            WEIGHTS: ("False", Reason.WAITING_FOR_POD, "The server of m-1 has not answered yet."),
            READY: ("False", Reason.STARTING, ""),
        },
    ),
    "what a server said before its container ended counts no more": Case(
        observed(waiting("ContainerCreating"), servers={"m-1": server(progress=transfer(1, 2))}),
        {WEIGHTS: ("False", Reason.WAITING_FOR_POD, "No pod runs yet.")},
    ),
    # Degraded
    "the server says that it may not have the weights": Case(
        fails(LoadFailure.ACCESS_DENIED, "the model is gated\nlog in"),
        {
            **degraded(Reason.WEIGHTS_FAILED, "AccessDenied: the model is gated log in. The server looks again"),
            WEIGHTS: ("False", Reason.WEIGHTS_FAILED, "the model is gated log in."),
        },
    ),
    "what may pass is tried again, and the message says so": Case(
        fails(LoadFailure.HUB_UNREACHABLE, "no connection."),
        {
            **degraded(Reason.WEIGHTS_FAILED, "HubUnreachable: no connection. The server tries again by itself."),
            WEIGHTS: ("False", Reason.WEIGHTS_FAILED, "no connection. The server tries again by itself."),
        },
    ),
    "a next try that downloads says how far it is": Case(
        loads(reason=LoadFailure.HUB_ERROR, error="error 500", progress=transfer(1e9, 4e9)),
        {WEIGHTS: ("False", Reason.DOWNLOADING, "25 %"), DEGRADED: ("True", Reason.WEIGHTS_FAILED, "error 500")},
    ),
    "the device has no room": Case(
        fails(LoadFailure.OUT_OF_MEMORY, "CUDA out of memory"), degraded(Reason.OUT_OF_MEMORY, "CUDA out of memory")
    ),
    "the model is larger than the device": Case(
        fails(LoadFailure.EXCEEDS_MEMORY_BUDGET), degraded(Reason.OUT_OF_MEMORY, "ExceedsMemoryBudget")
    ),
    "the GPU cannot be used": Case(
        fails(LoadFailure.GPU_UNUSABLE, "no CUDA driver"), degraded(Reason.GPU_UNUSABLE, "no CUDA driver")
    ),
    "the image cannot be pulled": Case(
        observed(pod("image pull backs off")),
        degraded(
            Reason.IMAGE_PULL_FAILED,
            'Pod m-1 cannot get image localhost:5000/none:1: failed to pull and unpack image "localhost:5000/none:1"',
        ),
    ),
    "the image has no valid name": Case(
        observed(pod("image name invalid")), degraded(Reason.IMAGE_PULL_FAILED, "must be lowercase")
    ),
    "the image is absent and may not be pulled": Case(
        observed(pod("image absent and never pulled")), degraded(Reason.IMAGE_PULL_FAILED, "pull policy of Never")
    ),
    "a secret is missing": Case(
        observed(pod("secret missing")),
        degraded(Reason.CONTAINER_CONFIG_INVALID, 'Pod m-1 cannot be started: secret "hub" not found.'),
    ),
    "the command is missing": Case(
        observed(pod("command missing")), degraded(Reason.CONTAINER_CONFIG_INVALID, 'exec: "/nothing"')
    ),
    "the kernel killed it at its memory limit": Case(
        observed(pod("killed for memory")),
        degraded(Reason.OUT_OF_MEMORY, "its limit of 16Mi; raise spec.pod.resources"),
    ),
    "the kernel killed it without a limit": Case(
        observed(restarted(1, exit_code=137, reason="OOMKilled")),
        degraded(Reason.OUT_OF_MEMORY, "the memory of its node ran out"),
    ),
    "a container that could be started after all needs no help": Case(
        observed(restarted(1, exit_code=128, reason="StartError", log="no such file")),
        {DEGRADED: ("False", Reason.AS_EXPECTED, "")},
    ),
    "a ready pod needs no help, whatever was": Case(
        observed(
            restarted(3, exit_code=137, reason="OOMKilled", ready=True),
            unlooked("m-2"),
            replicas=2,
            rollout=deployment(2, ready=1),
            servers={"m-1": server(reason=LoadFailure.HUB_ERROR)},
        ),
        {DEGRADED: ("False", Reason.AS_EXPECTED, ""), READY: ("False", Reason.WAITING_FOR_SCHEDULER, "")},
    ),
    "a ready container of a pod that is not has no part in it": Case(
        observed(with_sidecar(restarted(3, exit_code=137, reason="OOMKilled"))),
        {DEGRADED: ("False", Reason.AS_EXPECTED, "")},
    ),
    "the server keeps ending": Case(
        observed(pod("crash loop")),
        degraded(
            Reason.CRASH_LOOPING,
            "Pod m-1 keeps ending, 8 restarts so far; last with exit code 3: loading.",
        ),
    ),
    "a server that crashed once and runs again needs no help": Case(
        observed(restarted(1)), {DEGRADED: ("False", Reason.AS_EXPECTED, "")}
    ),
    "a crash loop is one while the container runs": Case(
        observed(
            restarted(4, exit_code=139, log='x\n{"message": "started", "exc_info": "Traceback:\\nKeyError: 1"}\n\n')
        ),
        degraded(Reason.CRASH_LOOPING, "4 restarts so far; last with exit code 139 (signal 11): KeyError: 1."),
    ),
    "an end without a word says so": Case(
        observed(restarted(2, exit_code=0)), degraded(Reason.CRASH_LOOPING, "exit code 0, without a word.")
    ),
    "several pods with one trouble are counted": Case(
        observed(
            pod("crash loop", "m-1"),
            pod("crash loop", "m-2"),
            pod("crash loop", "m-3"),
            replicas=3,
            rollout=deployment(3),
        ),
        {DEGRADED: ("True", Reason.CRASH_LOOPING, "The same holds for 2 more pods.")},
    ),
    "the API server refuses pods": Case(
        observed(rollout=deployment(pods=0, refusal=QUOTA)),
        degraded(Reason.POD_REFUSED, "Pods are refused: exceeded quota: pods, requested: pods=1, used: pods=0"),
    ),
    "a refusal that no longer matters is not told": Case(
        observed(pod("ready"), rollout=deployment(ready=1, refusal=QUOTA)),
        {DEGRADED: ("False", Reason.AS_EXPECTED, "")},
    ),
    "a node refuses pods": Case(
        observed(pod("refused by its node", "m-1"), unlooked("m-2")),
        degraded(Reason.POD_REFUSED, "Node node refuses pods: OutOfnvidia.com/gpu: Pod was rejected: Node didn't have"),
    ),
    "a node put the pod out": Case(
        observed(pod("evicted", "m-1"), unlooked("m-2")), degraded(Reason.EVICTED, "Node node puts pods out: Evicted: ")
    ),
    "a crashing pod of the old template does not speak for the new one": Case(
        rolling(
            pod("crash loop", "m-0", template="old", created="11:00"), pod("running, not ready"), replicas=2, updated=1
        ),
        {DEGRADED: ("False", Reason.AS_EXPECTED, "")},
    ),
    "a pod that is going away needs no help": Case(
        observed(pod("crash loop", "m-0", leaving=True), unlooked()), {DEGRADED: ("False", Reason.AS_EXPECTED, "")}
    ),
}
