"""Says which tensor of a component does not fit its configuration; the libraries say so in words for programmers."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from imagegen_server.pipelines.components import Component, WeightsError, named_tensors


@contextmanager
def misfits_explained(folder: Path, component: Component, model: Any) -> Generator[None]:
    """Say which tensor does not fit the configuration, where that is why ``model``, its class, cannot load it."""
    try:
        yield
    except Exception:
        if (misfit := _misfit(folder, component, model)) is not None:
            name, there, wanted = misfit
            raise WeightsError(
                f"{component.name}: tensor {name} is {there} in the weights, and config.json wants {wanted}; take the "
                "whole folder from one model"
            ) from None
        raise


def _misfit(folder: Path, component: Component, model: Any) -> tuple[str, tuple[int, ...], tuple[int, ...]] | None:
    """Return a tensor whose shape is not the one that the configuration wants: name, shape, wanted shape."""
    try:
        with torch.device("meta"):
            config = model.load_config(folder) if hasattr(model, "load_config") else None
            empty = model.from_config(config) if config else model(model.config_class.from_pretrained(folder))
    except Exception:  # noqa: BLE001 - a configuration that makes no model: that is the error to tell of
        return None
    wanted = {name: tuple(tensor.shape) for name, tensor in empty.state_dict().items()}
    there = {
        name.removeprefix("text_model."): each.shape for name, each in named_tensors(folder, component.variant).items()
    }
    misfits = (
        (name, there[short], shape)
        for name, shape in wanted.items()
        if (short := name.removeprefix("text_model.")) in there and there[short] != shape
    )
    return next(misfits, None)
