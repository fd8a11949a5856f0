"""Image files: each is one row, decoded when it is fed and not again afterwards.

The package Pillow is imported only where a run needs it.
"""

import io
from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa

from orchestrator.domain.errors import DataError
from trainers.feed.bad_rows import BadRows
from trainers.feed.readers import NAME, Survey

IMAGE: Final = pa.struct(
    [
        pa.field("height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("channels", pa.int32()),
        pa.field("pixels", pa.large_binary()),
    ]
)
_SCHEMA: Final = pa.schema([(NAME, pa.string()), ("image", IMAGE)])


class ImageReader:
    """Rows of `name` and `image`: grey images have one channel, all others three (RGB)."""

    def survey(self, content: Any, name: str, bad: BadRows) -> Survey:
        rows = sum(batch.num_rows for batch in self.batches(content, name, _SCHEMA, bad))
        return Survey(rows=rows, num_bytes=0, schema=_SCHEMA)

    def batches(self, content: Any, name: str, schema: pa.Schema, bad: BadRows) -> Iterator[pa.RecordBatch]:
        library = _library()
        try:
            with library.open(io.BytesIO(content.read())) as image:
                decoded = image.convert("L" if image.mode in ("1", "L") else "RGB")
        except Exception as error:  # decoders raise what they like
            bad.add(f"does not decode as an image: {error}")
            return
        row = {
            "height": decoded.height,
            "width": decoded.width,
            "channels": len(decoded.getbands()),
            "pixels": decoded.tobytes(),
        }
        yield pa.record_batch([pa.array([name]), pa.array([row], IMAGE)], _SCHEMA)


def library_version() -> str:
    version: str = _library().__version__
    return version


def _library() -> Any:
    try:
        import PIL.Image
    except ImportError as error:
        raise DataError(
            "data.format images needs the package 'pillow', which is not installed here",
            hint="pip install pillow",
        ) from error
    return PIL.Image
