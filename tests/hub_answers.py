"""What a Hub answers about one repository, for tests of its clients: FakeImageServer says it."""

from typing import Any

import msgspec

from fakes import Answer

COMMIT = "71153311d3dbb46851df1931d3ca6e939de83304"
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")
TURBO: dict[str, Any] = {
    "model_index.json": {
        "_class_name": "StableDiffusionXLPipeline",
        "scheduler": ["diffusers", "EulerAncestralDiscreteScheduler"],
        **{part: ["diffusers", "Part"] for part in PARTS},
    },
    "scheduler/scheduler_config.json": {
        "_class_name": "EulerAncestralDiscreteScheduler",
        "timestep_spacing": "trailing",
    },
    "unet/config.json": {"sample_size": 64, "in_channels": 4},
    **{f"{part}/model.fp16.safetensors": "weights" for part in PARTS},
    "sd_xl_turbo_1.0_fp16.safetensors": "weights",
}
"""The files of a repository shaped like stabilityai/sdxl-turbo."""


def hub_answers(
    repository: str = "stabilityai/sdxl-turbo",
    files: dict[str, Any] | None = None,
    *,
    asked_as: str = "",
    revision: str = "",
    **metadata: Any,
) -> dict[str, Answer]:
    """Return the answers of a Hub that has one repository with ``files``, JSON or bytes by name."""
    held = TURBO if files is None else files
    card = {"license": "other", "license_name": "sai-nc-community"}
    info = {
        "id": repository,
        "sha": COMMIT,
        "gated": False,
        "cardData": card,
        "tags": ["license:other"],
        "siblings": [{"rfilename": name} for name in held],
        **metadata,
    }
    path = f"/api/models/{asked_as or repository}{f'/revision/{revision}' if revision else ''}"
    answers = {path: Answer(body=msgspec.json.encode(info))}
    for name, content in held.items():
        body = content if isinstance(content, bytes) else msgspec.json.encode(content)
        answers[f"/{repository}/resolve/{COMMIT}/{name}"] = Answer(body=body)
    return answers


def hub_refusal(repository: str, status: int, code: str = "", message: str = "") -> dict[str, Answer]:
    """Return the answers of a Hub that refuses, as the Hub says it: in headers."""
    headers = {"x-error-code": code, "x-error-message": message}
    return {
        f"/api/models/{repository}": Answer(
            status=status, headers={name: value for name, value in headers.items() if value}
        )
    }
