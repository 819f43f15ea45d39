"""A picture's bytes out of a reply."""

import binascii

from imagegen_cli.client import ClientError
from imagegen_contract.images import ImageData


def content(image: ImageData) -> bytes:
    """Return the file that the server sent; raise ClientError when its base64 cannot be read."""
    try:
        return binascii.a2b_base64(image.b64_json, strict_mode=True)
    except ValueError:
        raise ClientError("the server's picture is damaged: its base64 cannot be read") from None
