from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.api.in_process import InProcess, in_process


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[InProcess]:
    async with in_process(tmp_path) as running:
        yield running
