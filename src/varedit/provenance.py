"""What a result says about its own making: written into the file's metadata, and read back.

PNG holds it in an iTXt chunk named ``varedit``, JPEG, WebP and AVIF in EXIF UserComment, TIFF in ImageDescription. An
XMP packet marks every one of them as edited by a model, in the words of the IPTC. Knows nothing of pixels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin

from varedit.errors import ImageError
from varedit.images import file_bytes, opened

_KEY = "varedit"
_EXIF_IFD = 0x8769
_USER_COMMENT = 0x9286
_ASCII = b"ASCII\0\0\0"  # "UNICODE\0" would leave open in which byte order its UTF-16 is
_TIFF_XMP = 700
EDITED_BY_MODEL = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
_XMP = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" \
Iptc4xmpExt:DigitalSourceType="{EDITED_BY_MODEL}"/></rdf:RDF></x:xmpmeta><?xpacket end="r"?>"""


Told = Literal["full", "minimal", "none"]  # how much a file says; the mark of the IPTC goes with all but none
_MINIMAL = ("version", "model", "repository", "revision", "model_sha256")


def as_told(made: Mapping[str, Any], told: Told) -> Mapping[str, Any] | None:
    """What a file is to say of how its picture was made, out of all that there is to say; None is nothing.

    "minimal" leaves out whatever the person chose, above all the instruction.
    """
    if told == "none":
        return None
    return made if told == "full" else {name: made[name] for name in _MINIMAL if name in made}


def metadata_options(provenance: Mapping[str, object], image_format: str) -> dict[str, Any]:
    """Return the arguments of ``Image.save`` that write ``provenance`` into a file.

    Args:
        provenance: JSON values by name; "version" also goes into the Software tag.
        image_format: as `check_output_path` returns it.
    """
    software = f"varedit {provenance.get('version', '')}".strip()
    if image_format == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("Software", software)
        text.add_itxt(_KEY, _compact_json(provenance, ensure_ascii=False))
        text.add_itxt("XML:com.adobe.xmp", _XMP)
        return {"pnginfo": text}
    comment = _compact_json(provenance, ensure_ascii=True)
    if image_format == "TIFF":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[ExifTags.Base.Software] = software
        tags[ExifTags.Base.ImageDescription] = f"{_KEY} {comment}"
        tags.tagtype[_TIFF_XMP] = 1  # bytes
        tags[_TIFF_XMP] = _XMP.encode()
        return {"tiffinfo": tags}
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = software
    exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = _ASCII + comment.encode("ascii")
    return {"exif": exif, "xmp": _XMP.encode()}


def read_provenance(path: Path) -> dict[str, Any] | None:
    """Read what `metadata_options` wrote; None if the picture holds nothing of the kind.

    Raises:
        InputMissing: there is no such file.
        ImageError: the file is no picture.
    """
    with opened(file_bytes(path), path.name) as image:
        text = _provenance_text(image)
    try:
        provenance = json.loads(text)
    except (ValueError, RecursionError):  # somebody else's text under our name
        return None
    return provenance if isinstance(provenance, dict) else None


def recorded(path: Path) -> dict[str, Any]:
    """As `read_provenance`, for those who cannot go on without. Raises ImageError "no_provenance" too."""
    made = read_provenance(path)
    if made is None:
        raise ImageError(
            "no_provenance", f"{path} does not say how it was made; only results that were written with metadata do."
        )
    return made


def _provenance_text(image: Image.Image) -> str:
    """The JSON that an opened picture carries, or an empty string."""
    if image.format == "PNG":
        return str(image.info.get(_KEY, ""))  # our chunk comes before the pixels, so none are decoded
    exif = image.getexif()
    if image.format == "TIFF":
        description = str(exif.get(ExifTags.Base.ImageDescription, ""))
        return description.removeprefix(_KEY) if description.startswith(_KEY) else ""
    comment = exif.get_ifd(_EXIF_IFD).get(_USER_COMMENT, b"")
    if not isinstance(comment, bytes) or not comment.startswith(_ASCII):
        return ""
    return comment.removeprefix(_ASCII).decode("ascii", errors="replace")


def _compact_json(provenance: Mapping[str, object], *, ensure_ascii: bool) -> str:
    return json.dumps(dict(provenance), ensure_ascii=ensure_ascii, separators=(",", ":"), allow_nan=False)
