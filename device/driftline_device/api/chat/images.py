"""The picture of a request: decoded from its data URL; the device fetches nothing."""

from __future__ import annotations

import binascii

import numpy as np
from numpy.typing import NDArray

from driftline_device.api.chat.parts import Picture
from driftline_device.api.wording import wrong
from driftline_shared.errors import DataError
from driftline_shared.pictures import decode_image
from driftline_shared.pictures.data_url import from_base64, payload_of


def decode(picture: Picture, *, max_pixels: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB; ApiError (400) saying why there is none."""
    place, url = picture.place, picture.url
    if url[:64].lstrip()[:8].lower().startswith(("http://", "https://")):
        raise wrong(
            place,
            "url_not_fetched",
            f"{place}: this device fetches no URLs; send the image itself as a data URL, "
            "data:image/jpeg;base64,...",
        )
    payload = payload_of(url)
    if payload is None:
        raise wrong(
            place,
            "invalid_image_url",
            f"{place}: not a data URL of an image; it begins with data:image/jpeg;base64, or "
            "another image type",
        )
    try:
        data = from_base64(payload)
        return decode_image(data, name="the image", place=place, max_pixels=max_pixels)
    except binascii.Error:
        reason = f"{place}: not base64 (a sign that is no letter of base64)"
    except ValueError as error:
        reason = f"{place}: not base64 ({error})"
    except DataError as error:
        reason = str(error)
    raise wrong(place, "invalid_image", reason)
