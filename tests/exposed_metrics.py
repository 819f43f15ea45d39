"""What operator, router and servers expose, read out of their own registries, and what of it an expression names."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from typing import get_args

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from fake_models import FakeLoader, FakeSource
from imagegen_contract import names
from imagegen_contract.conditions import ConditionType
from imagegen_contract.errors import KINDS
from imagegen_contract.explanations import REASONS
from imagegen_contract.server_status import ModelState, ModelStatus
from imagegen_operator.kinds import WATCHED, Kind
from imagegen_operator.metrics import Metrics as OperatorMetrics
from imagegen_router.demand import ModelDemand
from imagegen_router.endpoints import Address, Endpoints
from imagegen_router.generations import PATH
from imagegen_router.metrics import Metrics as RouterMetrics
from imagegen_router.pod_states import PodReport
from imagegen_server.costs import CostModel
from imagegen_server.engine import Engine, EngineLimits
from imagegen_server.fetching import Fetcher
from imagegen_server.metrics import Metrics as ServerMetrics
from imagegen_server.models import ModelStore

Exposed = Mapping[str, Mapping[str, set[str]]]
"""Of each metric the values of each label; no values where they are not the code's to say."""

POD_MODEL_LABEL = re.sub(r"\W", "_", names.MODEL_LABEL)
"""What the PodMonitor makes of the label of a model's pods."""

_STRING = r'"(?:[^"\\]|\\.)*"'
_CLAUSE = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_RANGE = re.compile(r"\[[^\]]*\]")
_SELECTOR = re.compile(rf'([a-zA-Z_:][\w:]*)\b(?!\s*\()(?:\s*\{{((?:[^"}}]|{_STRING})*)\}})?')
_MATCHER = re.compile(rf"(\w+)\s*(=~|!~|!=|=)\s*({_STRING})")
_WORDS = {"and", "or", "unless", "bool", "offset"}


def exposed() -> Exposed:
    """Return what Prometheus has of all programs."""
    return asyncio.run(_exposed())


def complaints(expression: str, known: Exposed) -> Iterator[str]:
    """Yield what an expression names and nobody exposes."""
    found = list(_selectors(expression))
    for metric, matchers in found:
        if metric not in known:
            yield f"there is no metric {metric}"
            continue
        for label, operator, value in matchers:
            yield from _label_complaints(metric, known[metric], label, operator, value)
    labels = {label for metric, _ in found for label in known.get(metric, ())}
    for clause in _CLAUSE.findall(expression):
        for label in filter(None, map(str.strip, clause.split(","))):
            if label not in labels:
                yield f"no metric of the expression has a label {label}"


def _selectors(expression: str) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    plain = _RANGE.sub("", _CLAUSE.sub(" ", expression))
    for metric, matchers in _SELECTOR.findall(plain):
        if metric not in _WORDS:
            yield metric, _MATCHER.findall(matchers)


def _label_complaints(
    metric: str, labels: Mapping[str, set[str]], label: str, operator: str, quoted: str
) -> Iterator[str]:
    if label not in labels:
        yield f"{metric} has no label {label}"
    elif labels[label]:
        value = msgspec.json.decode(quoted, type=str)
        for each in value.split("|") if "~" in operator else [re.escape(value)]:
            if not any(re.fullmatch(each, known) for known in labels[label]):
                yield f"{label} of {metric} is never {value}"


async def _exposed() -> Exposed:
    target: dict[str, set[str]] = {"namespace": set(), "pod": set(), "job": set(), "instance": set()}
    result: dict[str, dict[str, set[str]]] = {}
    for text, added in (
        (_operator(), target),
        (_router(), target),
        (_server(), {**target, POD_MODEL_LABEL: set[str]()}),
    ):
        for family in text_string_to_metric_families(text.decode()):
            for sample in family.samples:
                labels = result.setdefault(sample.name, dict(added))
                for label, value in sample.labels.items():
                    labels.setdefault(label, set()).add(value)
    return result


def _operator() -> bytes:
    metrics = OperatorMetrics()
    metrics.reconciled("success", 0.1)
    metrics.requested("get", Kind.LEASE, "200", 0.1)
    ready = {(status, str(reason)): 1 for status, given in REASONS[ConditionType.READY].items() for reason in given}
    metrics.observe(int, lambda: dict.fromkeys(WATCHED, 1.0), lambda: ready)
    return metrics.text()


def _router() -> bytes:
    endpoints = Endpoints(1.0, lambda _: None)
    endpoints.replace(
        Address(uid=uid, model="one", host="127.0.0.1", port=1, management_port=2) for uid in ("up", "down")
    )
    next(iter(endpoints)).told = PodReport(state="serving")
    demand = ModelDemand(model="one", waiting_requests=1, running_requests=1, waiting_seconds=1, running_seconds=1)
    metrics = RouterMetrics(endpoints, lambda: [demand])
    metrics.answered(PATH, 200, "", 1.0)
    for code, kind in KINDS.items():
        metrics.answered(PATH, kind.status, code, 1.0)
    return metrics.text()


class _OneInEachState(ModelStore):
    def statuses(self) -> tuple[ModelStatus, ...]:
        return tuple(ModelStatus(id=f"acme/{state}", state=state) for state in get_args(ModelState))


def _server() -> bytes:
    engine = Engine(EngineLimits(queued_requests=1, queued_seconds=1.0), CostModel())
    metrics = ServerMetrics(engine, _OneInEachState((), Fetcher({"fake": FakeSource()}, half=True), FakeLoader()))
    metrics.answered(PATH, 200, "", 1.0)
    return metrics.text()
