"""Where an edit ended, for the next edit of the same photograph to begin there: chains of edits that do not decay.

The next edit takes the codes as they are, so nothing is decoded and encoded again, and its result is restored against
the first photograph, so a pixel that no edit touched stays that photograph's own. Knows nothing of models.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from varedit.content_hash import array_sha256
from varedit.errors import UsageError
from varedit.scales import ScaleSchedule

LARGEST_BYTES = 256 * 2**20  # of codes that are unpacked: more than any photograph that we read needs


@dataclass(frozen=True, eq=False)
class EditedCodes:
    """The bits of an edited picture, and where it may differ from its photograph.

    Attributes:
        model: name in the config of the model that drew them.
        template: name of its scale schedule.
        bits: K arrays (d, h_k, w_k) bool.
        reach: (H, W) uint8 of the photograph's size, 0 where no edit so far could touch it; None: nowhere was limited.
    """

    model: str
    template: str
    bits: tuple[NDArray[np.bool_], ...]
    reach: NDArray[np.uint8] | None = None

    def check(self, model: str, channels: int, latent_schedule: ScaleSchedule) -> None:
        """Raise UsageError unless they are of this model: its name, d, and the latent grids of their template."""
        shapes = [(channels, *grid) for grid in latent_schedule.grids]
        if self.model != model or [each.shape for each in self.bits] != shapes:
            raise UsageError(
                f"these codes were drawn by the model {self.model!r} and do not fit {model!r}; go on with the model "
                "that drew them, or edit the result as a picture of its own."
            )

    def to_text(self) -> str:
        """As text, for JSON and forms: base64 of compressed bytes."""
        header = {
            "model": self.model,
            "template": self.template,
            "bits": [each.shape for each in self.bits],
            "reach": None if self.reach is None else self.reach.shape,
        }
        packed = b"".join(np.packbits(each).tobytes() for each in self.bits)
        reach = b"" if self.reach is None else np.ascontiguousarray(self.reach).tobytes()
        return base64.b64encode(zlib.compress(json.dumps(header).encode() + b"\n" + packed + reach)).decode()

    @classmethod
    def from_text(cls, text: str) -> Self:
        """What `to_text` gave. Raises UsageError for anything else, however it is meant."""
        try:
            unpacker = zlib.decompressobj()
            unpacked = unpacker.decompress(base64.b64decode(text, validate=True), LARGEST_BYTES)
            if not unpacker.eof:
                raise ValueError("it does not end")
            head, _, rest = unpacked.partition(b"\n")
            return cls._read(json.loads(head), rest)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError, binascii.Error, zlib.error) as error:
            raise UsageError("the codes are damaged; send them back exactly as they came with a result.") from error

    @classmethod
    def _read(cls, header: dict[str, Any], rest: bytes) -> Self:
        """Raises ValueError, KeyError or TypeError where header and bytes do not belong together."""
        bits, place = [], 0
        for shape in header["bits"]:
            count = _count(shape, 3)
            packed = np.frombuffer(rest, np.uint8, (count + 7) // 8, place)
            bits.append(np.unpackbits(packed, count=count).astype(bool).reshape(shape))
            place += len(packed)
        reach = None
        if header["reach"] is not None:
            count = _count(header["reach"], 2)
            reach = np.frombuffer(rest, np.uint8, count, place).reshape(header["reach"])
            place += count
        if place != len(rest):
            raise ValueError("bytes are left over")
        return cls(str(header["model"]), str(header["template"]), tuple(bits), reach)

    @property
    def sha256(self) -> str:
        """By which a result names the codes that it began with."""
        return array_sha256(*self.bits, self.reach)


def _count(shape: Any, dimensions: int) -> int:
    """Numbers in an array of a shape out of a file. Raises ValueError for one that is none."""
    if not isinstance(shape, list) or len(shape) != dimensions:
        raise ValueError(f"{shape} is no shape of {dimensions} dimensions")
    if not all(type(side) is int and 0 < side <= LARGEST_BYTES for side in shape):
        raise ValueError(f"{shape} is no shape")
    count = 1
    for side in shape:
        count *= side
    if count > 8 * LARGEST_BYTES:
        raise ValueError(f"{shape} is too large")
    return count
