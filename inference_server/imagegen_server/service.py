"""What the routes work with: one server's parts, built once in app.py."""

import time

from imagegen_contract.errors import ErrorCode
from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.image_size import SIZE_MULTIPLE
from imagegen_contract.images import ModelInfo, ModelLimits
from imagegen_contract.server_settings import ServerSettings
from imagegen_contract.server_status import Capacity, ModelStatus, ServerStatus, Work
from imagegen_server.catalog_file import CatalogFile
from imagegen_server.engine import Engine
from imagegen_server.images import ImageLimits, Images
from imagegen_server.lifecycle import Lifecycle
from imagegen_server.metrics import Metrics
from imagegen_server.models import ModelStore
from imagegen_server.parameters import allowed_schedulers, default_scheduler, default_size, max_pixels, max_steps
from imagegen_web.errors import ApiError


class Service:
    """The parts of a server and the answers that need several of them. Event loop only."""

    def __init__(self, settings: ServerSettings, version: str, models: ModelStore, engine: Engine) -> None:
        self.settings = settings
        self.catalog: CatalogFile | None = None
        self.version = version
        self.models = models
        self.engine = engine
        # In a pod nobody waits: the router holds requests until their model is there.
        limits = ImageLimits(images=settings.max_images, load_wait=0 if settings.model else settings.load_wait_seconds)
        self.images = Images(models, engine, limits, png_metadata=settings.png_metadata)
        self.lifecycle = Lifecycle()
        self.metrics = Metrics(engine, models)
        self.device = ""
        self.default_model = settings.model.id if settings.model else settings.default_model
        self._started_at = time.time()

    def check_alive(self) -> None:
        """Raise ApiError when the process can do nothing any more: no device thread, or one call that never ends."""
        busy_since = self.engine.counters.busy_since
        if not self.engine.alive and self.lifecycle.state != "starting":
            raise ApiError(ErrorCode.INTERNAL_ERROR, "the device thread has ended")
        if busy_since is not None and time.monotonic() - busy_since > self.settings.stall_seconds:
            raise ApiError(
                ErrorCode.INTERNAL_ERROR, f"a device call has run for more than {self.settings.stall_seconds:g} s"
            )

    def check_ready(self) -> None:
        """Raise ApiError with the cause in words unless the server can serve."""
        state = self.lifecycle.state
        causes = "; ".join(f"{status.id}: {status.error}" for status in self.models.statuses() if status.error)
        if state == "failed":
            raise ApiError(ErrorCode.MODEL_FAILED, f"the server cannot serve: {causes or 'the device is lost'}")
        if state == "draining":
            raise ApiError(ErrorCode.DRAINING, "the server is shutting down")
        if state != "ready":
            cause = f"; {causes}" if causes else ""
            raise ApiError(ErrorCode.MODEL_LOADING, f"the server is {state}{cause}", retry_after=1)

    def status(self) -> ServerStatus:
        """Return the whole state of the server."""
        running, waiting = self.engine.running(), self.engine.waiting()
        counters = self.engine.counters
        last_step = counters.last_step_at
        return ServerStatus(
            version=self.version,
            state=self.lifecycle.state,
            uptime_seconds=round(time.time() - self._started_at, 3),
            device=self.device,
            models=self.models.statuses(),
            memory=self.models.memory,
            catalog=self.catalog.status if self.catalog else None,
            costs=self.engine.costs(),
            capacity=Capacity(
                running_rows=sum(job.images for job in running),
                queued_rows=sum(job.images for job in waiting),
                free_rows=self.free_rows(),
                running_requests=len(running),
                queued_requests=len(waiting) + self.models.held,
            ),
            work=Work(
                predicted_seconds=round(self.engine.predicted_seconds(), 4),
                device_seconds_total=round(counters.device_seconds, 4),
                evaluations_total=counters.evaluations,
                images_total=counters.images,
                last_step_age_seconds=None if last_step is None else round(time.monotonic() - last_step, 3),
            ),
        )

    def free_rows(self) -> int:
        """Return how many more image rows would start at once: one request's, when nothing is here."""
        return self.settings.max_images if self.engine.idle and self.lifecycle.state == "ready" else 0

    def model_info(self, model_id: str) -> ModelInfo:
        """Return one model of the catalog as /v1/models shows it."""
        return next(info for info in self.model_infos() if info.id == model_id)

    async def load_model(self, name: str) -> tuple[bool, ModelInfo]:
        """Have a model loaded; return whether it is already, and how it is now. Raises ModelNotFound."""
        model_id = self.models.find(name).id
        return self.models.load(model_id), self.model_info(model_id)

    async def unload_model(self, name: str) -> ModelInfo:
        """Take a model off the device when its running requests are done; raise ModelNotFound."""
        spec = self.models.find(name)
        await self.models.unload(spec.id)
        return self.model_info(self.models.find(spec.id).id)

    def model_infos(self) -> tuple[ModelInfo, ...]:
        """Return every model of the catalog as /v1/models shows it."""
        return tuple(
            self._info(spec, status) for spec, status in zip(self.models.specs, self.models.statuses(), strict=True)
        )

    def _info(self, spec: ImageModelSpec, status: ModelStatus) -> ModelInfo:
        loaded = self.models.loaded(spec.id)
        facts = loaded.facts if loaded else None
        size = default_size(spec, facts) if facts else spec.default_size
        return ModelInfo(
            id=spec.id,
            created=int(self._started_at),
            owned_by=spec.publisher,
            publisher=spec.publisher,
            family=spec.family,
            version=spec.version,
            aliases=spec.aliases,
            description=spec.description,
            license=spec.license,
            state=status.state,
            device=facts.device if facts else None,
            dtype=facts.dtype if facts else None,
            size=str(size) if size else None,
            native_size=str(facts.native_size) if facts else None,
            sizes=spec.inference.sizes,
            steps=spec.inference.steps,
            guidance_scale=spec.inference.guidance_scale,
            scheduler=default_scheduler(spec, facts) if facts else spec.inference.scheduler,
            schedulers=allowed_schedulers(spec, facts) if facts else allowed_schedulers(spec),
            limits=ModelLimits(
                max_pixels=max_pixels(spec, facts),
                max_steps=max_steps(spec, facts),
                max_guidance_scale=spec.inference.max_guidance_scale,
                size_multiple=SIZE_MULTIPLE,
            )
            if facts
            else None,
            stage=status.stage or None,
            progress=status.progress,
            revision=status.revision or None,
            memory_bytes=status.memory_bytes or None,
            reason=status.reason,
            error=status.error or None,
        )
