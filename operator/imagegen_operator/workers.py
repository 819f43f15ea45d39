"""The workers: each takes a name out of the queue, has it reconciled, and gives it back."""

import logging
import time

from imagegen_operator.errors import ApiError, OperatorError
from imagegen_operator.metrics import Metrics
from imagegen_operator.queue import WorkQueue
from imagegen_operator.reconcile import Reconciler

_LOG = logging.getLogger("imagegen.workers")


async def work(queue: WorkQueue, reconciler: Reconciler, metrics: Metrics) -> None:
    """Reconcile one name after the other, for ever. A failure of one is a pause for that one only."""
    while True:
        name = await queue.take()
        began = time.monotonic()
        result = await _reconcile(name, queue, reconciler)
        metrics.reconciled(result, time.monotonic() - began)


async def _reconcile(name: str, queue: WorkQueue, reconciler: Reconciler) -> str:
    """Return ``success``, ``refused`` (by the API server, or no answer) or ``error`` (ours)."""
    try:
        again = await reconciler.reconcile(name)
    except OperatorError as error:
        pause = queue.failed(name, error.retry_after if isinstance(error, ApiError) else 0.0)
        _LOG.warning("reconcile failed", extra={"model": name, "cause": str(error), "again_seconds": round(pause, 1)})
        return "refused"
    except Exception:  # noqa: BLE001 - a mistake of ours must not end the work for all other models
        pause = queue.failed(name)
        _LOG.exception("reconcile failed", extra={"model": name, "again_seconds": round(pause, 1)})
        return "error"
    queue.done(name)
    if again is not None:
        queue.add_after(name, again)
    return "success"
