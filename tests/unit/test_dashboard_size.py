"""How much a browser has to load before it shows the dashboard."""

import gzip
from pathlib import Path

import pytest

BUILT = Path(__file__).parents[2] / "api" / "ui_dist"
MOST_BYTES = 200_000


@pytest.mark.skipif(not (BUILT / "index.html").is_file(), reason="the dashboard is not built: run `make ui`")
def test_all_files_of_the_dashboard_are_small_together() -> None:
    files = [path for path in BUILT.rglob("*") if path.suffix in (".html", ".js", ".css", ".svg")]
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) <= MOST_BYTES
