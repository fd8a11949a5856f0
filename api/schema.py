"""The OpenAPI document of the service on stdout: `python -m api.schema`. The dashboard is typed by it."""

import json
import sys
import tempfile
from pathlib import Path

from api.home_cluster import HomeCluster
from api.settings import Settings
from api.wiring import assemble
from orchestrator.store.memory import MemoryRecord
from orchestrator.store.run_files import RunFolders


def main() -> int:
    """Puts the service together without starting it."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        cluster = HomeCluster("local", home)
        service = assemble(Settings(home=home), MemoryRecord(), cluster, RunFolders())
        json.dump(service.app.openapi(), sys.stdout, indent=1, sort_keys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
