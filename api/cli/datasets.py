"""`tumbler datasets`: the data sets that a spec can name."""

from cyclopts import App

from api.cli.arguments import Output
from api.cli.output import Columns, Format, put, size
from orchestrator.domain.spec import DataSpec
from orchestrator.domain.spec_training import KNOWN_DATASETS
from trainers.data.text_corpus import resolve

datasets = App(name="datasets", help="The data sets that a spec can name.")

_ABOUT = {"stdlib": "the source code of this interpreter's own library"}


@datasets.command
def ls(*, output: Output = Format.TABLE) -> None:
    """List the data sets that `data.source` can name; all of them are on this machine already."""
    content, rows = [], []
    for name in KNOWN_DATASETS:
        source = f"dataset://{name}"
        corpus = resolve(DataSpec(source=source))
        about = _ABOUT.get(name, "")
        content.append(
            {"source": source, "files": len(corpus.files), "bytes": corpus.num_bytes, "about": about}
        )
        rows.append((source, len(corpus.files), size(corpus.num_bytes), about))
    put(content, Columns(("source", "files", "size", "about"), rows), output)
