"""What conditions are derived from: the Deployment, the pods and what their servers say, sorted out once."""

from collections.abc import Mapping

import msgspec

from imagegen_contract.conditions import Reason
from imagegen_contract.server_status import ModelStatus, ServerStatus
from imagegen_operator.objects import Model, Observed, Outcome
from imagegen_operator.pods import Pod, newest_template, parse_pod
from imagegen_operator.rollouts import Rollout, parse_rollout

_WRITTEN = frozenset({Reason.APPLIED, Reason.IMMUTABLE_FIELD})
"""Outcomes after which the Deployment is as the newest spec asks for."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """``wanted`` counts the pods that there should be.

    ``pods`` are those of the newest template that are to stay, ``leaving`` those that are being deleted, ``over`` those
    of the newest template of which nothing runs any more; ``reports`` is by pod UID.
    """

    model: Model
    outcome: Outcome
    deployed: bool
    rollout: Rollout
    wanted: int
    pods: tuple[Pod, ...] = ()
    leaving: tuple[Pod, ...] = ()
    over: tuple[Pod, ...] = ()
    reports: Mapping[str, ModelStatus] = {}

    @property
    def complete(self) -> bool:
        """Whether all wanted pods are of the newest template and ready, and no other is left."""
        rollout, counts = self.rollout, self.rollout.status
        if not self.deployed or not rollout.seen:
            return False
        if self.wanted == 0:
            return counts.replicas == 0 and not self.pods and not self.leaving
        return counts.replicas == self.wanted <= min(counts.updated_replicas, counts.ready_replicas)

    @property
    def current(self) -> bool:
        """Whether the Deployment is as the newest spec asks for."""
        return self.outcome.reason in _WRITTEN

    def report(self, pod: Pod) -> ModelStatus | None:
        """Return what the pod's server says of the model; None while it does not run or has said nothing."""
        return self.reports.get(pod.uid) if pod.running else None


def gather(observed: Observed, outcome: Outcome) -> Facts:
    """Sort out what was ``observed`` after the ``outcome`` of writing."""
    rollout = parse_rollout(observed.deployment)
    pods = sorted(map(parse_pod, observed.pods), key=lambda pod: pod.name)
    staying = newest_template(pod for pod in pods if not pod.leaving)
    reports = {uid: model for uid, server in observed.servers.items() if (model := _model_of(server, observed.model))}
    return Facts(
        model=observed.model,
        outcome=outcome,
        deployed=observed.deployment is not None,
        rollout=rollout,
        wanted=_wanted(observed, rollout),
        pods=tuple(pod for pod in staying if not pod.over),
        leaving=tuple(pod for pod in pods if pod.leaving and not pod.over),
        over=tuple(pod for pod in staying if pod.over),
        reports=reports,
    )


def _wanted(observed: Observed, rollout: Rollout) -> int:
    """Return how many pods there should be. A spec that could not be written does not speak for pods that run."""
    if observed.deployment is not None:
        return rollout.spec.replicas
    return observed.model.spec.replicas if observed.model.spec else 1


def _model_of(server: ServerStatus, model: Model) -> ModelStatus | None:
    """Return what a server says of this model: it may have others besides, and an id can be edited."""
    named = [each for each in server.models if model.spec and each.id == model.spec.id]
    return next(iter(named or server.models), None)
