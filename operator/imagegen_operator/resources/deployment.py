"""The Deployment of a model.

Its pod template changes only when the spec or the pinned image does: no version, no time, no order that wanders. So an
upgrade of the operator restarts no pod; golden files prove it.
"""

from typing import Any

from imagegen_operator.kinds import Kind
from imagegen_operator.objects import Model
from imagegen_operator.resources.metadata import header, selector
from imagegen_operator.resources.pod import pod_template
from imagegen_operator.settings import OperatorSettings

_AFTER_LOAD_SECONDS = 600
"""Beyond the load time-out, for scheduling and pulling an image of some GB, before a rollout counts as stalled."""


def deployment(model: Model, image: str, settings: OperatorSettings) -> dict[str, Any]:
    """Return the Deployment of ``model``, whose spec is there, with ``image`` as its server."""
    if model.spec is None:
        raise ValueError(f"ImageModel {model.name} has no spec that could be deployed")
    rollout = model.spec.rollout
    return {
        **header(Kind.DEPLOYMENT, model, model.name),
        "spec": {
            "replicas": model.spec.replicas,
            "selector": {"matchLabels": selector(model)},
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": rollout.load_timeout_seconds + _AFTER_LOAD_SECONDS,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": _pace(rollout.max_surge)},
            "template": pod_template(model, model.spec, image, settings),
        },
    }


def _pace(max_surge: int) -> dict[str, int]:
    """Return how pods are replaced.

    Without a spare GPU the old pod has to go first: the default strategy would wait for ever for a place. With surge
    there is one, and no pod goes before its successor is ready.
    """
    return {"maxSurge": max_surge, "maxUnavailable": 0 if max_surge else 1}
