"""`python -m api.service.export_process RUN STEP FOLDER`: one export; an error of ours comes out pickled."""

import pickle
import sys
from pathlib import Path

from api.checkpoints import checkpoints_of, find_checkpoint
from orchestrator.domain.errors import TumblerError
from orchestrator.domain.run_directory import RunDirectory
from trainers.checkpoints.export import export_model


def main(run: str, step: str, folder: str) -> int:
    try:
        directory = RunDirectory.open(run)
        catalog = checkpoints_of(directory)
        manifest = catalog.read(find_checkpoint(directory, int(step)))
        for sentence in export_model(directory, catalog.place, manifest, Path(folder)):
            print(sentence, file=sys.stderr)
    except TumblerError as error:
        sys.stdout.buffer.write(pickle.dumps(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
