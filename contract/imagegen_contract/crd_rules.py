"""What the API server checks between the fields of an ImageModel, in CEL, with messages for people.

The same rules are `__post_init__` of the structs; a test gives both the same specs. That no alias and no variable is
there twice has no rule here: the types of their lists say it.
"""

from collections.abc import Sequence

from imagegen_contract.image_model import ImageModelSpec, Inference
from imagegen_contract.image_size import MAX_SIDE, MIN_SIDE, SIZE_MULTIPLE, SIZE_PATTERN
from imagegen_contract.names import MAX_OBJECT_NAME
from imagegen_contract.structural_schema import Json, Rules
from imagegen_contract.workload import Cache, Toleration

# A size that has not even the form breaks the rule of its pattern, and is left alone by those that would read it.
_IS_SIZE = f"matches(r'{SIZE_PATTERN.removesuffix(chr(92) + 'Z')}$')"
_SIDES = f"split('x').all(side, int(side) % {SIZE_MULTIPLE} == 0 && int(side) >= {MIN_SIDE} && int(side) <= {MAX_SIDE})"
_SIDES_ALLOWED = f"Allowed: sides in multiples of {SIZE_MULTIPLE} from {MIN_SIDE} to {MAX_SIDE}"
_AREA_ALLOWED = "Allowed: an area of at most maxPixels"

_SERVES_ONE_POD = (
    "!has(self.cache) || !has(self.cache.size) "
    "|| (has(self.cache.accessMode) && self.cache.accessMode == 'ReadWriteMany')"
)
_NAMES_THE_GPU = (
    "(has(self.pod.resources.limits) && self.gpu.resourceName in self.pod.resources.limits) "
    "|| (has(self.pod.resources.requests) && self.gpu.resourceName in self.pod.resources.requests)"
)


def _rule(rule: str, message: str, path: str = "") -> Json:
    return {"rule": rule, "message": message, **({"fieldPath": path} if path else {})}


def _area(size: str) -> str:
    return f"int({size}.split('x')[0]) * int({size}.split('x')[1]) <= self.maxPixels"


OBJECT_RULES: Sequence[Json] = (
    _rule(
        f"self.metadata.name.size() <= {MAX_OBJECT_NAME} && "
        "self.metadata.name.matches(r'^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        f"Allowed: at most {MAX_OBJECT_NAME} of a-z, 0-9 and -, a letter first: Services and pods are named after it",
        ".metadata.name",
    ),
)
"""About the whole object."""

SPEC_RULES: Rules = {
    ImageModelSpec: (
        _rule("!has(self.aliases) || !(self.id in self.aliases)", "aliases must not hold the id itself", ".aliases"),
        _rule(
            f"{_SERVES_ONE_POD} || self.replicas <= 1",
            "Allowed: at most 1 with a claim that serves one pod; several need cache.accessMode ReadWriteMany",
            ".replicas",
        ),
        _rule(
            f"{_SERVES_ONE_POD} || self.rollout.maxSurge == 0",
            "Allowed: 0 with a claim that serves one pod; another pod needs cache.accessMode ReadWriteMany",
            ".rollout.maxSurge",
        ),
        _rule(
            f"!has(self.pod) || !has(self.pod.resources) || !({_NAMES_THE_GPU})",
            "must not name the GPU's resource; GPUs are asked for by gpu.count",
            ".pod.resources",
        ),
    ),
    Inference: (
        _rule("self.steps <= self.maxSteps", "Allowed: at most maxSteps", ".steps"),
        _rule(
            "!has(self.quality) "
            "|| [self.quality.low, self.quality.medium, self.quality.high].all(steps, steps <= self.maxSteps)",
            "Allowed: steps of at most maxSteps",
            ".quality",
        ),
        _rule("self.guidanceScale <= self.maxGuidanceScale", "Allowed: at most maxGuidanceScale", ".guidanceScale"),
        _rule(
            "!has(self.scheduler) || !has(self.schedulers) || self.schedulers.size() == 0 "
            "|| self.scheduler in self.schedulers",
            "Allowed: one of schedulers",
            ".scheduler",
        ),
        _rule(f"!has(self.size) || !self.size.{_IS_SIZE} || self.size.{_SIDES}", _SIDES_ALLOWED, ".size"),
        _rule(f"!has(self.sizes) || self.sizes.all(size, !size.{_IS_SIZE} || size.{_SIDES})", _SIDES_ALLOWED, ".sizes"),
        _rule(
            f"!has(self.maxPixels) || !has(self.size) || !self.size.{_IS_SIZE} || {_area('self.size')}",
            _AREA_ALLOWED,
            ".size",
        ),
        _rule(
            f"!has(self.maxPixels) || !has(self.sizes) || self.sizes.all(size, !size.{_IS_SIZE} || {_area('size')})",
            _AREA_ALLOWED,
            ".sizes",
        ),
    ),
    Cache: (
        _rule(
            "has(self.claimName) != has(self.size)",
            "needs one of claimName (an existing claim) and size (a claim to create)",
        ),
        _rule(
            "!has(self.claimName) || !has(self.storageClassName)",
            "is for a claim to create; leave it out beside claimName",
            ".storageClassName",
        ),
        _rule(
            "!has(self.size) || (type(self.size) == int ? self.size != 0 : self.size.matches('[1-9]'))",
            "Allowed: above 0",
            ".size",
        ),
    ),
    Toleration: (
        _rule(
            "(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')",
            "Allowed: Exists where there is no key, which tolerates every taint",
            ".operator",
        ),
        _rule(
            "!has(self.value) || self.value == '' || !has(self.operator) || self.operator != 'Exists'",
            "must be left out with operator Exists",
            ".value",
        ),
        _rule(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            "is for effect NoExecute only",
            ".tolerationSeconds",
        ),
    ),
}
"""About the fields of each struct."""
