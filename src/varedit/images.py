"""Read a picture from any door (file, bytes, Pillow image, array, tensor), trusting nothing about it.

The file's bytes decide its format, its header decides whether it is decoded at all, and whatever goes wrong is one
`ImageError`. What the decoded numbers mean is the matter of `pixel_formats`; how a picture gets to the model's size
that of `fit`. The caller's suffix and content type are never asked.
"""

from __future__ import annotations

import importlib
import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from varedit.content_hash import array_sha256
from varedit.errors import ImageError, InputMissing, MissingExtra, VAREditError
from varedit.file_kinds import READABLE_KINDS, declared_length, is_heif, kind_of
from varedit.image_arrays import uint8_pixels
from varedit.pixel_formats import NonFinitePixels, normalised_pixels

if TYPE_CHECKING:
    import torch

    ImageSource = bytes | str | Path | Image.Image | np.ndarray[Any, Any] | torch.Tensor

MAX_PIXELS = 50_000_000
MAX_BYTES = 512 * 2**20
MAX_SIDE = 32768
# Pillow knows 43 formats, one of which starts Ghostscript. A phone's multi-picture JPEG opens as "JPEG".
ALLOWED_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
_SUPPORTED = "PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF and (with an extra) HEIC are read"
_ORIENTATION = 0x0112  # EXIF tag


@dataclass(frozen=True, eq=False, kw_only=True)
class Picture:
    """An upright picture in sRGB."""

    rgb: NDArray[np.uint8]  # (H, W, 3); transparent places are composited over white
    rgb16: NDArray[np.uint16] | None = None  # (H, W, 3); None unless the source was 16-bit grey
    alpha: NDArray[np.uint8] | None = None  # (H, W), 255 is opaque; None if every pixel is
    source_format: str | None = None  # Pillow's name, such as "PNG"; None for arrays and images made in memory
    notes: tuple[str, ...] = ()  # what was lost or guessed in reading, a phrase each
    name: str = "the image"  # begins messages about this picture

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.rgb.shape[0])

    @cached_property
    def sha256(self) -> str:
        """Of the pixels, transparency included: the same for every file that holds the same picture."""
        return array_sha256(self.rgb, self.alpha)

    def to_pil(self) -> Image.Image:
        """Return the picture as a Pillow image, RGBA if some of it is transparent."""
        image = Image.fromarray(self.rgb)
        if self.alpha is not None:
            image.putalpha(Image.fromarray(self.alpha))
        return image


def read_image(
    source: ImageSource, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES, name: str | None = None
) -> Picture:
    """Read one picture, upright and in sRGB.

    Args:
        source: a path, the bytes of a file, a Pillow image, or an array or tensor: (H, W), (H, W, C) or (C, H, W)
            with C of 1, 3 or 4, uint8 in 0..255 or floating point in 0..1.
        max_pixels: width times height; more is refused before a pixel is decoded.
        max_bytes: size of the file.
        name: how messages call the picture; a path's last part if not given.

    Returns: the `Picture`. The first frame of an animation. Of files with 16 bits a channel only grey ones give
        ``rgb16``: Pillow reads 16-bit colour as 8 bits, and a note says so.

    Raises:
        ImageError: "invalid_image" if it cannot be read, "image_too_large" if it is too large.
        InputMissing: the path does not exist or may not be read.
        MissingExtra: HEIC without pillow-heif.
    """
    if isinstance(source, str | Path):
        return _read_bytes(file_bytes(Path(source), max_bytes), name or Path(source).name, max_pixels)
    name = name or "the image"
    if isinstance(source, bytes):
        if len(source) > max_bytes:
            raise _too_many_bytes(name, max_bytes)
        return _read_bytes(source, name, max_pixels)
    if isinstance(source, Image.Image):
        return _picture(source, name, max_pixels)
    return _picture(Image.fromarray(uint8_pixels(source, name)), name, max_pixels)


def load_mask(source: ImageSource, width: int, height: int, *, name: str = "the mask") -> NDArray[np.float32]:
    """Read where an edit may change the picture.

    White may change and black stays. A mask with any transparent pixel is read the other way that people draw masks:
    only its alpha counts, transparent may change and opaque stays. Alpha wins because such a mask is usually the
    photograph itself with a hole, whose brightness means nothing.

    Args:
        source: as for `read_image`, booleans too.
        width, height: of the picture, in pixels.
        name: how messages call a mask that is not a path.

    Returns: (H, W) in 0..1, 1 where everything may change.
    """
    if isinstance(source, np.ndarray) and source.dtype == np.bool_:
        source = source.astype(np.uint8) * 255
    picture = read_image(source, name=None if isinstance(source, str | Path) else name)
    if (picture.width, picture.height) != (width, height):
        sizes = f"{picture.width}x{picture.height} but the image is {width}x{height}"
        raise ImageError("invalid_mask", f"{picture.name} is {sizes}. Make their sizes equal.")
    if picture.alpha is not None:
        return (255 - picture.alpha).astype(np.float32) / np.float32(255)
    return np.asarray(Image.fromarray(picture.rgb).convert("L"), dtype=np.float32) / np.float32(255)


@contextmanager
def opened(data: bytes, name: str) -> Iterator[Image.Image]:
    """Open a file's bytes without decoding its pixels; what fails in opening or inside the block is an `ImageError`."""
    if not data:
        raise ImageError("invalid_image", f"{name} is empty.")
    formats: tuple[str, ...] = ALLOWED_FORMATS
    if is_heif(data):
        _register_heif()
        formats = (*formats, "HEIF")
    with _damage_told(name, data):
        with _pillow_warnings_ignored():
            image = Image.open(io.BytesIO(data), formats=formats)
        with image:
            yield image


def file_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Read a file, but never more than one byte over the limit.

    Raises:
        ImageError: it is a folder, or larger than ``max_bytes``.
        InputMissing: it does not exist or may not be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except IsADirectoryError as error:
        raise ImageError("invalid_image", f"{path} is a folder. Name a picture in it.") from error
    except FileNotFoundError as error:
        raise InputMissing(f"{path} does not exist.") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise InputMissing(f"{path} cannot be read: {reason}.") from error
    if len(data) > max_bytes:
        raise _too_many_bytes(path.name, max_bytes)
    return data


def _read_bytes(data: bytes, name: str, max_pixels: int) -> Picture:
    with opened(data, name) as image:
        return _picture(image, name, max_pixels, data)


def _picture(image: Image.Image, name: str, max_pixels: int, data: bytes = b"") -> Picture:
    """Decode and normalise an opened image whose header has not been checked yet."""
    _check_size(image.size, name, max_pixels)
    with _damage_told(name, data):
        with _pillow_warnings_ignored():
            notes = _frame_and_depth_notes(image)
            white_level = 4095 if getattr(image, "tag_v2", {}).get(258) == (12,) else 65535  # TIFF BitsPerSample
        # Pillow turns a TIFF upright while loading it, and warns of its tags there
        with _pillow_warnings_ignored() if image.format == "TIFF" else nullcontext():
            image.load()
        _check_size(image.size, name, max_pixels)  # a frame may be larger than its header claimed
        with _pillow_warnings_ignored():
            orientation = _orientation(image, notes)
        pixels = normalised_pixels(_upright(image, orientation), white_level=white_level)
    return Picture(
        rgb=pixels.rgb,
        rgb16=pixels.rgb16,
        alpha=pixels.alpha,
        source_format="JPEG" if image.format == "MPO" else image.format,
        notes=(*notes, *pixels.notes),
        name=name,
    )


def _frame_and_depth_notes(image: Image.Image) -> list[str]:
    """Say what decoding will leave out. Asks never for ``n_frames``, which reads the whole file."""
    notes = []
    if image.format != "MPO" and getattr(image, "is_animated", False):  # MPO: a photograph with its depth map
        notes.append("only the first frame is used")
    if image.mode in ("RGB", "RGBA", "CMYK") and ";16" in str(getattr(image, "tile", "")):
        notes.append("16-bit colour was read as 8 bits")
    return notes


def _orientation(image: Image.Image, notes: list[str]) -> int:
    """Read the EXIF orientation; 1, which is upright, if there is none or it makes no sense."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # EXIF is parsed from raw bytes and fails in any way; it must not cost the picture
        notes.append("broken EXIF data was ignored")
        return 1
    return orientation if orientation in range(1, 9) else 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn the image with an EXIF of that one tag: Pillow writes the rest back, where a broken entry would fail."""
    if orientation == 1:
        return image
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    turned = image.copy()
    turned.info = {key: value for key, value in image.info.items() if key in ("icc_profile", "transparency")}
    turned.info["exif"] = exif.tobytes()
    ImageOps.exif_transpose(turned, in_place=True)
    return turned


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    width, height = size
    if min(size) < 1:
        raise ImageError("invalid_image", f"{name} is {width}x{height}: it has no pixels.")
    if max(size) > MAX_SIDE:
        limit = f"sides up to {MAX_SIDE} pixels are read"
        raise ImageError("image_too_large", f"{name} is {width}x{height}; {limit}. Make it smaller first.")
    if width * height > max_pixels:
        limit = f"up to {max_pixels / 1e6:g} megapixels are read"
        raise ImageError("image_too_large", f"{name} is {width}x{height}; {limit}. Make it smaller first.")


def _too_many_bytes(name: str, max_bytes: int) -> ImageError:
    return ImageError("image_too_large", f"{name} is larger than {max_bytes / 2**20:g} MiB. Make it smaller first.")


@contextmanager
def _damage_told(name: str, data: bytes) -> Iterator[None]:
    """Turn whatever a parser raises into one sentence. Parsers of broken files raise nearly every class there is."""
    try:
        yield
    except VAREditError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError("image_too_large", f"{name} has too many pixels. Make it smaller first.") from error
    except Exception as error:
        raise ImageError("invalid_image", _damage(name, data, error)) from error


def _damage(name: str, data: bytes, error: Exception) -> str:
    """The sentence for a file that could not be read, by its bytes and the parser's words."""
    if isinstance(error, MemoryError):
        return f"{name} needs more memory than there is."
    if isinstance(error, NonFinitePixels):
        return f"{name} holds numbers that are not finite."
    if "truncated" in str(error).lower() or declared_length(data) > len(data):
        return f"{name} cannot be read: the file ends early."
    kind = kind_of(data)
    if isinstance(error, UnidentifiedImageError):
        if kind is None:
            return f"{name} is not a known kind of picture; {_SUPPORTED}."
        if kind not in READABLE_KINDS:
            return f"{name} looks like {kind}; {_SUPPORTED}."
    if kind is None:
        return f"{name} cannot be read: {error}."
    return f"{name} looks like {kind} but cannot be read: it is damaged, or the file ends early."


_warning_filters = threading.Lock()


@contextmanager
def _pillow_warnings_ignored() -> Iterator[None]:
    """Silence Pillow, which warns of broken EXIF and of sizes that we check ourselves.

    The filters belong to the process, so one thread at a time may change them; most decoding stays outside.
    """
    with _warning_filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _register_heif() -> None:
    """Teach Pillow HEIC; `pillow_heif` turns the picture upright itself and clears the tag, so it is turned once."""
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError as error:
        raise MissingExtra("Reading HEIC pictures", "heif") from error
