"""Rows from an object store: moto's S3 on loopback."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from orchestrator.domain.errors import DataError
from tests.unit.feed_files import fed, filled, scanned

moto_server = pytest.importorskip("moto.server", reason="the package moto[server] is not installed")


@pytest.fixture(scope="module")
def s3() -> Iterator[tuple[pafs.FileSystem, str]]:
    """(file system, what to put behind the `?` of a URI) of an empty bucket named `corpus`."""
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        options = f"endpoint_override={host}:{port}&scheme=http&region=us-east-1&allow_bucket_creation=true"
        system, _ = pafs.FileSystem.from_uri(f"s3://test:test@corpus?{options}")
        system.create_dir("corpus")
        yield system, options
    finally:
        server.stop()


def put(system: pafs.FileSystem, path: str, content: bytes) -> None:
    with system.open_output_stream(path) as stream:
        stream.write(content)


def table(*rows: tuple[object, ...]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("n", "text"), *rows])
    return text.getvalue().encode()


def test_a_prefix_and_a_glob_of_a_bucket_are_fed(tmp_path: Path, s3: tuple[pafs.FileSystem, str]) -> None:
    system, options = s3
    put(system, "corpus/tables/b.csv", table((3, "c")))
    put(system, "corpus/tables/deep/a.csv", table((1, "a"), (2, "b")))
    put(system, "corpus/tables/readme.md", b"not a table")
    rows = fed(tmp_path, f"s3://test:test@corpus/tables?{options}", format="csv")
    assert [row["n"] for row in rows] == [3, 1, 2]
    rows = fed(tmp_path, f"s3://test:test@corpus/tables/**/a.csv?{options}", format="csv")
    assert [row["n"] for row in rows] == [1, 2]


def test_an_object_that_changes_between_scan_and_feed_is_named(
    tmp_path: Path, s3: tuple[pafs.FileSystem, str]
) -> None:
    system, options = s3
    put(system, "corpus/text/a.txt", b"hello")
    found = scanned(tmp_path, f"s3://test:test@corpus/text?{options}", 4)
    assert found.num_rows == 2
    put(system, "corpus/text/a.txt", b"HELLO")
    with pytest.raises(DataError, match=r"corpus/text/a\.txt has changed since it was scanned"):
        filled(found, tmp_path)


def test_a_bucket_that_is_not_there_is_named(tmp_path: Path, s3: tuple[pafs.FileSystem, str]) -> None:
    with pytest.raises(DataError, match=r"data\.source s3://.*nowhere"):
        scanned(tmp_path, f"s3://test:test@nowhere/x?{s3[1]}", 4)
