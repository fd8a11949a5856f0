"""What turns files into rows: everything that decides them besides the content of the files."""

import hashlib
import importlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa

from orchestrator.domain.errors import DataError
from orchestrator.domain.spec_training import DEFAULT_TEXT_COLUMN, DEFAULT_VOCABULARY, DataSpec, Format
from trainers.feed import images, tokenizers

RECIPE_FORMAT: Final = 1


@dataclass(frozen=True)
class Recipe:
    """How the rows of a run are made. Pickles, and is small."""

    source: str
    """As in the spec."""
    format: Format = "text"
    columns: tuple[str, ...] = ()
    """The columns that make a row, all where none is named; a packed row takes `text_column` alone."""
    text_column: str = DEFAULT_TEXT_COLUMN
    tokenizer: str = "bytes"
    """`bytes`, `bpe` or the path of a tokenizer.json."""
    tokenizer_sha256: str = ""
    """Of the content of that path."""
    vocabulary: int = 0
    """Number of token ids; 0 for `bytes`."""
    context: int | None = None
    """Packs into rows of context + 1 tokens; None leaves rows as they are."""
    transform: str = ""
    """`module:function` of the user, empty for none."""
    transform_per: Literal["row", "file"] = "row"
    transform_sha256: str = ""
    """Of the source of that module."""
    on_bad_row: Literal["fail", "skip"] = "fail"

    def canonical_json(self) -> str:
        """All of it as JSON with sorted keys and no white space."""
        return _canonical(asdict(self))

    def identity(self) -> dict[str, Any]:
        """What enters the fingerprint: neither the place of the files nor that of the tokenizer."""
        content = asdict(self)
        del content["source"]
        if self.tokenizer_sha256:
            content["tokenizer"] = "file"
        return {"recipe_format": RECIPE_FORMAT, **content}

    @property
    def is_packed(self) -> bool:
        return self.context is not None

    @cached_property
    def read_columns(self) -> tuple[str, ...]:
        """The columns that a file is read for; empty for all of them."""
        if self.is_packed and not self.transform:
            return (self.text_column,)
        return self.columns


def recipe_of(data: DataSpec, context: int | None) -> Recipe:
    """The recipe of a spec's data; `context` packs its text into rows, None takes rows as they are.

    Reads the tokenizer's file and the source of the transform's module, which must be importable.

    Raises DataError where one of them cannot be read, or images shall be packed.
    """
    if context is not None and data.format == "images":
        raise DataError(
            "data.format images gives no text, and this task wants rows of text",
            hint="Choose another task, or another data.format.",
        )
    packed = context is not None
    return Recipe(
        source=data.source,
        format=data.format,
        columns=data.columns,
        text_column=data.text_column or DEFAULT_TEXT_COLUMN,
        tokenizer=data.tokenizer if packed else "bytes",
        tokenizer_sha256=_sha256(given) if packed and (given := data.tokenizer_file) else "",
        vocabulary=_vocabulary(data) if packed and data.tokenizer != "bytes" else 0,
        context=context,
        transform=data.transform or "",
        transform_per=data.transform_per,
        transform_sha256=_module_sha256(data.transform) if data.transform else "",
        on_bad_row=data.on_bad_row,
    )


def load_transform(recipe: Recipe) -> Callable[[Any], Any] | None:
    """The user's function, None without one. Raises DataError where it cannot be imported."""
    if not recipe.transform:
        return None
    module_name, _, name = recipe.transform.partition(":")
    try:
        found = attrgetter(name)(importlib.import_module(module_name))
    except Exception as error:  # user code may raise anything when it is imported
        raise _unloadable(recipe.transform, error) from error
    if not callable(found):
        raise DataError(f"data.transform {recipe.transform} is not a function")
    function: Callable[[Any], Any] = found
    return function


def versions_that_matter(recipe: Recipe) -> dict[str, str]:
    """The versions of those packages that may make other rows of the same files."""
    found = {"pyarrow": pa.__version__.split(".")[0]}
    if recipe.is_packed and recipe.tokenizer != "bytes":
        found["tokenizers"] = tokenizers.library_version()
    if recipe.format == "images":
        found["pillow"] = images.library_version()
    return found


def _vocabulary(data: DataSpec) -> int:
    if data.tokenizer == "bpe":
        return data.vocabulary or DEFAULT_VOCABULARY
    return tokenizers.load_tokenizer(data.tokenizer, Path()).vocabulary


def _module_sha256(reference: str) -> str:
    module_name, _, _ = reference.partition(":")
    try:
        spec = importlib.util.find_spec(module_name)
    except Exception as error:  # the packages around it are imported
        raise _unloadable(reference, error) from error
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise DataError(
            f"data.transform {reference} is not found: there is no module {module_name!r}",
            hint="Put it into code.working_dir.",
        )
    return _sha256(spec.origin)


def _unloadable(reference: str, error: Exception) -> DataError:
    return DataError(f"cannot load data.transform {reference}: {type(error).__name__}: {error}")


def _sha256(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).expanduser().read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _canonical(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
