"""The models that this router knows: by which names they are called, how they are, and why one cannot serve now."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from imagegen_contract.catalog import UnknownModelError, resolve
from imagegen_contract.errors import ErrorCode
from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.image_size import parse_size
from imagegen_contract.images import ModelInfo, ModelList, model_entry
from imagegen_contract.server_status import FETCHING
from imagegen_router.pod_states import PodReport, PodState
from imagegen_web.errors import ApiError, ModelNotFound, ModelNotReady

State = Literal["ready", "loading", "waiting", "scaled_to_zero", "failed"]
"""What /v1/models says of a model. ``waiting`` is for a GPU, or for another place where a pod can run."""

_DEFAULT_PIXELS = 512 * 512
"""Of a model whose size nobody has told yet."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One model as discovery knows it."""

    key: str
    """What its pods are known by: the object name of its ImageModel, or the id in a static list."""
    spec: ImageModelSpec
    created: int = 0
    """Unix time."""
    state: State = "loading"
    words: str = ""
    """Why it is not ready, as the cluster says it to people; pods say more."""


class Directory:
    """All models. ``awaited`` says whether somebody reads the demand and would start pods for a model without any;
    ``reports`` returns what the pods of a model say of themselves.
    """

    def __init__(
        self, default_model: str, awaited: Callable[[], bool], reports: Callable[[str], Sequence[PodReport]]
    ) -> None:
        self._default_model = default_model
        self._awaited = awaited
        self._reports = reports
        self._models: dict[str, Model] = {}
        self._told: dict[str, ModelInfo] = {}
        self._resolved: dict[str, Model] = {}

    def replace(self, models: Iterable[Model]) -> None:
        """Take all models that there are now."""
        self._models = {model.key: model for model in models}
        self._told = {key: info for key, info in self._told.items() if key in self._models}
        self._resolved.clear()

    def model_keys(self) -> tuple[str, ...]:
        """Return what the pods of each model are known by."""
        return tuple(self._models)

    def id_of(self, key: str) -> str:
        """Return the id of a model."""
        return self._models[key].spec.id if key in self._models else ""

    def describe(self, key: str, infos: Iterable[ModelInfo]) -> None:
        """Take what a pod says of its models: device, sizes, limits."""
        model = self._models.get(key)
        for info in infos:
            if model and info.id == model.spec.id:
                self._told[key] = info

    def find(self, name: str | None) -> Model:
        """Return the model that a request means. Raise ModelNotFound."""
        wanted = name or self._default_model
        if not wanted:
            raise ModelNotFound("the request names no model, and there is no default; GET /v1/models lists them")
        if (known := self._resolved.get(wanted)) is not None:
            return known
        by_id = {model.spec.id: model for model in self._models.values()}
        try:
            found = by_id[resolve(wanted, (model.spec for model in by_id.values())).id]
        except UnknownModelError as error:
            raise ModelNotFound(str(error)) from None
        self._resolved[wanted] = found
        return found

    def pixels(self, model: Model) -> int:
        """Return the area of a picture of a request that names no size."""
        told = self._told.get(model.key)
        size = parse_size(told.size) if told and told.size else model.spec.default_size
        return size.pixels if size else _DEFAULT_PIXELS

    def list(self, ready: Callable[[str], bool]) -> ModelList:
        """Return all models, whatever pods are up; ``ready`` says whether a model has one that takes work."""
        models = sorted(self._models.values(), key=lambda model: model.spec.id)
        return ModelList(
            data=tuple(self.info(model, ready=ready(model.key)) for model in models),
            models=tuple(model_entry(model.spec) for model in models),
        )

    def info(self, model: Model, *, ready: bool) -> ModelInfo:
        """Return a model as /v1/models shows it: what its pods say, else what its entry says."""
        spec, told, report = model.spec, self._told.get(model.key), self._furthest(model.key)
        described = told or _undescribed(spec)
        return msgspec.structs.replace(
            described,
            id=spec.id,
            created=model.created or described.created,
            aliases=spec.aliases,
            state="ready" if ready else self._state(model),
            error=None if ready else self.words(model.key),
            stage=None if ready else (report.stage or None),
            progress=None if ready else report.progress,
        )

    def cause(self, key: str) -> ApiError | None:
        """Return the error of a request for a model that waiting does not help, None when it may be held."""
        model = self._models.get(key)
        if model is None:
            return ModelNotFound("the model was removed while the request waited for it")
        state = self._state(model)
        if state == "failed":
            how = "failed to load" if self._reports(key) else "cannot be served"
            return ModelNotReady(ErrorCode.MODEL_FAILED, f"model {model.spec.id} {how}: {self.words(key)}", "model")
        if state == "scaled_to_zero" and not self._awaited():
            return ModelNotReady(
                ErrorCode.MODEL_UNAVAILABLE,
                f"model {model.spec.id} is scaled to zero, and nothing would start a pod",
                "model",
            )
        return None

    def words(self, key: str) -> str:
        """Return why a model has no pod that takes work: what the pod says that is furthest, else what is known."""
        model = self._models.get(key)
        if model is None:
            return "it was removed"
        return self._furthest(key).words or model.words or "no pod is ready"

    def _state(self, model: Model) -> State:
        """Return the state of a model without a pod that takes work."""
        reports = self._reports(model.key)
        if reports and all(report.state == "failed" for report in reports):
            return "failed"
        # Discovery may be a moment behind the pods.
        return "loading" if model.state == "ready" else model.state

    def _furthest(self, key: str) -> PodReport:
        """Return what the pod says that is most likely the next to take work."""
        order: dict[PodState, int] = {"loading": 0, "failed": 1, "draining": 2, "silent": 3, "serving": 4}
        reports = sorted(
            self._reports(key),
            key=lambda each: (
                order[each.state],
                each.stage == FETCHING,  # all that follows it is further, at however few per cent
                -each.progress.percent if each.progress else 0.0,
            ),
        )
        first = next(iter(reports), PodReport(words=""))
        # A pod that does not answer yet says less than the cluster does.
        known = self._models[key].words if key in self._models else ""
        return PodReport(words=known) if first.state in {"silent", "serving"} and known else first


def _undescribed(spec: ImageModelSpec) -> ModelInfo:
    """Return what is known of a model of which no pod has told anything."""
    return ModelInfo(
        id=spec.id,
        created=0,
        owned_by=spec.publisher,
        publisher=spec.publisher,
        family=spec.family,
        version=spec.version,
        aliases=spec.aliases,
        description=spec.description,
        license=spec.license,
        state="loading",
        device=None,
        dtype=None,
        size=str(spec.default_size) if spec.default_size else None,
        native_size=None,
        sizes=spec.inference.sizes,
        steps=spec.inference.steps,
        guidance_scale=spec.inference.guidance_scale,
        scheduler=spec.inference.scheduler,
        schedulers=spec.inference.schedulers,
        limits=None,
        stage=None,
        progress=None,
        revision=None,
        memory_bytes=None,
        reason=None,
        error=None,
    )
