"""What a Hub says of a model, as far as an entry of models_info.json is made of it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from imagegen_cli.hub_reference import HubReference

Json = dict[str, Any]


class HubFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of one commit. A pipeline has an index and a UNet, a single-file checkpoint the shapes of its tensors."""

    reference: HubReference
    """As the Hub spells it, with the commit as its revision."""
    license: str = ""
    gated: bool = False
    files: tuple[str, ...] = ()
    index: Json = {}
    """model_index.json"""
    scheduler: Json = {}
    unet: Json = {}
    tensors: Mapping[str, tuple[int, ...]] = {}
