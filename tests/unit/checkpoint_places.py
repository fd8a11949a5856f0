"""Places with checkpoints for tests: a folder, and a bucket of moto's S3 on loopback."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pyarrow.fs as pafs
import pytest

from orchestrator.checkpoints.catalog import Catalog, Committed
from orchestrator.checkpoints.manifest import Manifest, PartFile, parts_folder, step_folder, xxh3_of
from orchestrator.checkpoints.places import Place

BUCKET = "checkpoints"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Address and options of an empty bucket, to be filled with a prefix: `uri.format(prefix)`."""
    moto_server = pytest.importorskip("moto.server", reason="the package moto[server] is not installed")
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    try:
        server.start()
        host, port = server.get_host_and_port()
    except OSError as error:
        pytest.skip(f"moto cannot serve here: {error}")
    try:
        options = f"endpoint_override={host}:{port}&scheme=http&region=us-east-1"
        system, _ = pafs.FileSystem.from_uri(f"s3://test:test@{BUCKET}?{options}&allow_bucket_creation=true")
        system.create_dir(BUCKET)
        yield f"s3://test:test@{BUCKET}/{{}}?{options}"
    finally:
        server.stop()


@pytest.fixture(params=["folder", "bucket"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where nothing is yet."""
    if request.param == "folder":
        return str(tmp_path / "runs" / "otter")
    return str(request.getfixturevalue("s3")).format(f"runs/otter-{uuid4().hex[:8]}")


PARTS = {
    "structure.json": b'{"model": {}}',
    "part-000-004.safetensors": b"a" * 40,
    "part-004-008.safetensors": b"b",
}


def manifest_of(
    step: int, attempt: int = 1, generation: int = 1, *, parts: dict[str, bytes] = PARTS, **more: object
) -> Manifest:
    folder = parts_folder(attempt, generation)
    files = (
        PartFile(name=f"{folder}/{name}", size=len(content), xxh3=xxh3_of(content))
        for name, content in parts.items()
    )
    defaults = {"fingerprint": "f" * 64, "committed": "2026-01-31T12:00:00.000Z", "metrics": {}}
    return Manifest.model_validate(
        {
            "step": step,
            "attempt": attempt,
            "generation": generation,
            "parts": tuple(files),
            **defaults,
            **more,
        }
    )


def write_parts(place: Place, manifest: Manifest, parts: dict[str, bytes] = PARTS) -> None:
    folder = f"{step_folder(manifest.step)}/{parts_folder(*manifest.writer)}"
    for name, content in parts.items():
        place.write(f"{folder}/{name}", content)


def committed_in(place: Place, step: int, attempt: int = 1, generation: int = 1, **more: object) -> Committed:
    """A whole checkpoint."""
    manifest = manifest_of(step, attempt, generation, **more)  # type: ignore[arg-type]
    write_parts(place, manifest)
    return Catalog(place).commit(manifest)
