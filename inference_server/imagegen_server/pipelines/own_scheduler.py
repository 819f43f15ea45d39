"""The scheduler that weights come with, read from its configuration.

It decides how every preset of the model samples: the noise levels, what the UNet predicts, how timesteps are spaced.
Its own class matters less: where that cannot be made (its library is not installed, or its options exclude each other),
the presets are still made from the configuration.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers

from imagegen_server.pipelines.components import WeightsError, read_json

_LOG = logging.getLogger(__name__)

_FILE = "scheduler_config.json"

_REMEDY = "take the scheduler folder of the model that these weights were made from"

_ALLOWED: dict[str, tuple[str, ...]] = {
    "prediction_type": ("epsilon", "v_prediction", "sample"),
    "timestep_spacing": ("linspace", "leading", "trailing"),
    "beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2"),
    "timestep_type": ("discrete", "continuous"),
}
"""What the presets can be made with. Anything else would be an error of each request, or noise."""

PLAIN_SIGMAS: dict[str, bool] = {
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "use_flow_sigmas": False,
    "use_lu_lambdas": False,
}
"""No special spacing of the noise levels: diffusers refuses two of these at once, and one of them needs scipy."""


def read_own_scheduler(folder: Path, class_name: str) -> Any:
    """Return the scheduler of the pipeline in ``folder``, of class ``class_name`` if that can be made.

    Otherwise it is a plain Euler scheduler with the same configuration. Raises WeightsError for a configuration from
    which no preset can be made.
    """
    config = scheduler_config(folder)
    _check_values(config)
    scheduler = _made(config, class_name)
    if "beta_schedule" not in scheduler.config or config.get("use_flow_sigmas"):
        raise WeightsError(
            f"scheduler {class_name} has no betas; the presets cannot be made from it, and models that were trained "
            f"otherwise (flow matching, EDM) are not supported; if the model is none of these, {_REMEDY}"
        )
    return scheduler


def scheduler_config(folder: Path) -> dict[str, Any]:
    """Return the scheduler's configuration of the pipeline in ``folder``; raise WeightsError."""
    file = folder / "scheduler" / _FILE
    if not file.is_file():
        raise WeightsError(f"scheduler: {_FILE} is missing; {_REMEDY}")
    return read_json(file)


def _made(config: Mapping[str, Any], class_name: str) -> Any:
    try:
        return getattr(diffusers, class_name).from_config(config)
    except Exception as error:  # noqa: BLE001 - a library that is missing, options that exclude each other, ...
        cause = next(iter(str(error).strip().splitlines()), type(error).__name__)
        _LOG.warning("scheduler replaced by euler", extra={"scheduler": class_name, "cause": cause})
    try:
        return diffusers.EulerDiscreteScheduler.from_config({**config, **PLAIN_SIGMAS})
    except Exception as error:
        message = f"scheduler: {_FILE} cannot be used ({type(error).__name__}: {error}); {_REMEDY}"
        raise WeightsError(message) from error


def _check_values(config: Mapping[str, Any]) -> None:
    """Raise WeightsError for a value that the presets cannot follow."""
    for name, allowed in _ALLOWED.items():
        found = config.get(name, allowed[0])
        if found not in allowed and not (name == "beta_schedule" and config.get("trained_betas")):
            raise WeightsError(f"scheduler: {name} of {_FILE} is {found!r}; supported: {', '.join(allowed)}; {_REMEDY}")
