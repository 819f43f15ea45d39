"""The model that ships inside: weights as package data. Imports no torch, so that finding it costs nothing."""

from importlib.resources import files
from pathlib import Path

WEIGHTS = Path(str(files("imagegen_shapes") / "weights"))
"""Folder of the diffusers pipeline (StableDiffusionPipeline, 3.6 million parameters, fp16 files)."""
