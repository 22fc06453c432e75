"""OME-XML, the description in OME-TIFF files, made true for a file written anew."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np

_TYPES = {
    "uint8": "uint8",
    "uint16": "uint16",
    "int16": "int16",
    "float32": "float",
    "float64": "double",
}
_PIXELS = re.compile(r"<((?:[\w.-]+:)?)Pixels\b[^>]*>")
_TIFF_DATA = re.compile(
    r"<((?:[\w.-]+:)?)TiffData\b(?:[^>]*/>|[^>]*[^>/]>.*?</\1TiffData\s*>|>.*?</\1TiffData\s*>)",
    re.DOTALL,
)
_ROOT = re.compile(r"<(?:[\w.-]+:)?OME\b[^>]*>")


def ome_for_copy(
    description: bytes, dtype: np.dtype[Any], pages: int, byteorder: str
) -> bytes | None:
    """Return the OME-XML of a file that has the same axes as the original.

    Everything stays but for where the pages are, their dtype and byte order, and the names
    by which files refer to each other. The text is changed in these places only, so that
    elements and name spaces which nobody here knows stay what they are.

    Parameters
    ----------
    description : bytes
        The original's OME-XML.
    dtype : numpy.dtype
        Of the new pixels.
    pages : int
        Of the new file.
    byteorder : {"<", ">"}
        Of the new file.

    Returns
    -------
    bytes or None
        UTF-8; None if OME-TIFF has no such dtype or the XML is not what it should be.
    """
    ome_type = _TYPES.get(dtype.name)
    try:
        text = description.decode("utf-8")
        ElementTree.fromstring(description)
    except (UnicodeDecodeError, ElementTree.ParseError):
        return None
    pixels = _PIXELS.findall(text)
    if ome_type is None or len(pixels) != 1 or not _TIFF_DATA.search(text):
        return None

    def pixels_tag(match: re.Match[str]) -> str:
        tag = match[0]
        if _attribute(tag, "Type") != ome_type:
            tag = _with_attribute(tag, "Type", ome_type)
            # It was that of the other type.
            tag = re.sub(r"\s+SignificantBits\s*=\s*(\"[^\"]*\"|'[^']*')", "", tag)
        return _with_attribute(tag, "BigEndian", "true" if byteorder == ">" else "false")

    text = _PIXELS.sub(pixels_tag, text)
    data = [f'<{pixels[0]}TiffData IFD="0" PlaneCount="{pages}"/>']
    text = _TIFF_DATA.sub(lambda _: data.pop() if data else "", text)
    # The name of the original, which is another file.
    text = _ROOT.sub(
        lambda match: re.sub(r"\s+UUID\s*=\s*(\"[^\"]*\"|'[^']*')", "", match[0]), text, count=1
    )
    result = text.encode("utf-8")
    try:
        ElementTree.fromstring(result)
    except ElementTree.ParseError:
        return None
    return result


def _attribute(tag: str, name: str) -> str | None:
    found = re.search(rf"\s{name}\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", tag)
    return (found[1] or found[2]) if found else None


def _with_attribute(tag: str, name: str, value: str) -> str:
    """Return the tag with an attribute changed, if it has it."""
    return re.sub(rf"(\s{name}\s*=\s*)(?:\"[^\"]*\"|'[^']*')", rf'\g<1>"{value}"', tag)
