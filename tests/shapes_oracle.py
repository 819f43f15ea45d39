"""The pixel classifier by the name that tests know: see imagegen_shapes_training/adherence.py."""

from imagegen_shapes_training.adherence import Scene, Seen, classify, random_scenes, render
from imagegen_shapes_training.drawing import PALETTE
from imagegen_shapes_training.shapes import SHAPES

__all__ = ["PALETTE", "SHAPES", "Scene", "Seen", "classify", "random_scenes", "render"]
