"""The resource definition of ImageModels as YAML: for `kubectl apply`, and for the chart, which adds its switches."""

import yaml

from imagegen_contract.crd import resource_definition

_HEAD = "# Made by `python tools/generate.py` from contract/imagegen_contract/crd.py; edit it there.\n"


def crd_file() -> str:
    """Return the definition as one YAML document."""
    return _HEAD + yaml.safe_dump(resource_definition(), sort_keys=False, width=120, allow_unicode=True)
