"""`tumbler datasets`: the data sets that a spec can name, and rows made before a run needs them."""

from typing import Any

from cyclopts import App

from api.cli.arguments import Folder, Output, Overrides, SpecFile
from api.cli.bars import bytes_bar
from api.cli.output import Columns, Format, put, size, tell
from api.cli.places import storage_or_default
from orchestrator.domain.errors import DataError, SpecError
from orchestrator.domain.run_directory import storage_path
from orchestrator.domain.spec_file import load_source
from orchestrator.domain.spec_training import KNOWN_DATASETS
from orchestrator.domain.spec_training import Format as DataFormat

datasets = App(name="datasets", help="The data sets that a spec can name.")

_ABOUT = {"stdlib": "the source code of this interpreter's own library"}


@datasets.command
def ls(*, storage: Folder = None, output: Output = Format.TABLE) -> None:
    """List the data sets that `data.source` can name: those that are on every machine, and the storage's."""
    # Needs pyarrow, which other commands need not wait for.
    from trainers.feed.named import registered

    content = [_described(name, "text", f"dataset://{name}", _ABOUT.get(name, "")) for name in KNOWN_DATASETS]
    for known in registered(storage_or_default(storage)):
        try:
            content.append(_described(known.name, known.format, known.source, known.about))
        except DataError as error:
            tell(f"dataset://{known.name}: {error}")
    rows = [
        (entry["source"], entry["format"], entry["files"], size(entry["bytes"]), entry["about"])
        for entry in content
    ]
    put(content, Columns(("source", "format", "files", "size", "about"), rows), output)


@datasets.command
def add(
    name: str,
    source: str,
    /,
    *,
    format: DataFormat = "text",
    about: str = "",
    storage: Folder = None,
    output: Output = Format.TABLE,
) -> None:
    """Give files a name in a storage, so that specs can say `dataset://NAME`; again gives it other files.

    Parameters
    ----------
    name
        Lower-case letters, digits and dashes.
    source
        A path, a glob or a URI such as `s3://bucket/folder`.
    format
        What the files hold.
    about
        A few words on what it is.
    """
    from trainers.feed.named import NamedDataset, register
    from trainers.feed.sources import absolute

    dataset = NamedDataset(name=name, source=absolute(source), format=format, about=about)
    found = _described(name, format, dataset.source, about)
    register(storage_or_default(storage), dataset)
    put(found, found, output)


@datasets.command
def prepare(
    file: SpecFile,
    *,
    overrides: Overrides = (),
    output: Output = Format.TABLE,
) -> None:
    """Make the rows of a spec now, in this process, so that its runs find them ready.

    They lie in the spec's `checkpoint.storage`. Not needed: a run makes what is missing itself.
    """
    from trainers.door import at_the_door
    from trainers.feed.filling import local_blocks, store_folder
    from trainers.feed.writing import fill

    source = load_source(file, overrides)
    try:
        admitted = at_the_door(source.spec)
    except SpecError as error:
        raise source.placed(error) from error
    if admitted.scan is None:
        raise DataError("the rows of this spec do not come through the feed, so there is nothing to prepare")
    folder = store_folder(admitted.scan, storage_path(admitted.spec.checkpoint.storage))
    with bytes_bar("making rows", sum(one.size for one in admitted.scan.files)) as done:
        blocks = local_blocks(admitted.scan, folder, on_file=lambda one: done(one.size))
        made = fill(admitted.scan, folder, blocks)
    content = {
        "folder": str(folder),
        "rows": made.num_rows,
        "segments": made.num_segments,
        "bytes": made.num_bytes,
        "skipped": len(admitted.scan.skipped),
    }
    put(content, {**content, "bytes": size(made.num_bytes)}, output)


def _described(name: str, format: DataFormat, source: str, about: str) -> dict[str, Any]:
    """What `ls` and `add` say of a data set; raises DataError where there is none."""
    from trainers.feed.recipe import Recipe
    from trainers.feed.sources import list_files

    files = list_files(Recipe(source=source, format=format, on_bad_row="skip")).files
    return {
        "source": f"dataset://{name}",
        "format": format,
        "files": len(files),
        "bytes": sum(file.size for file in files),
        "about": about,
    }
