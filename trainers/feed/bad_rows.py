"""What happens to a row that cannot be read: it ends the run, or is left out, counted and named."""

from typing import Final, Literal

from orchestrator.domain.errors import DataError

_MOST_NAMED: Final = 10


class BadFile(DataError):
    """A file as a whole cannot be read; its message is such as `has no column 'text'`."""

    def of(self, path: str) -> DataError:
        """The whole sentence."""
        return DataError(f"{path} {self}", hint=self.hint)


class BadRows:
    """The bad rows of one file."""

    def __init__(self, path: str, on_bad_row: Literal["fail", "skip"]) -> None:
        self._path = path
        self.skips = on_bad_row == "skip"
        self.count = 0
        self.reasons: list[str] = []
        """Of the first ten, such as `row 17 is no JSON: ...`."""

    def add(self, reason: str) -> None:
        """One more, `reason` such as `row 17 is no JSON`. Raises DataError under `fail`."""
        if not self.skips:
            raise DataError(
                f"{self._path}: {reason}", hint="Mend it, or set data.on_bad_row to skip such rows."
            )
        self.count += 1
        if len(self.reasons) < _MOST_NAMED:
            self.reasons.append(reason)
