"""Every command in the documents does what it is there for, in the order of the pages."""

from collections.abc import Iterator

import pytest

from tests.documents import Command
from tests.integration.docs_scene import Scene, names, to_run

COMMANDS = to_run()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = Scene(tmp_path_factory.mktemp("docs"))
    try:
        yield made
    finally:
        made.close()


@pytest.mark.long
@pytest.mark.parametrize("command", COMMANDS, ids=names(COMMANDS))
def test_a_command_of_the_documents_works(scene: Scene, command: Command) -> None:
    scene.run(command)
