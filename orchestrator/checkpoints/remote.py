"""File systems behind a URI: how they are opened, and their trouble told in one sentence."""

import contextlib
import re
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any, Final

from orchestrator.domain.errors import StorageError
from orchestrator.domain.spec_parts import split_scheme

_OF_PYARROW: Final = frozenset({"s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss"})
_DEFAULTS: Final = MappingProxyType(
    {
        # A small file goes in one request instead of three.
        "s3": "allow_delayed_open=true",
        # Not a quarter of an hour.
        "gs": "retry_limit_seconds=60",
        "gcs": "retry_limit_seconds=60",
    }
)
"""Options of a URI that does not set them itself."""
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/@]*@")
_HINT: Final = "check the address, the credentials, and that the bucket or folder is there"


def opened(uri: str) -> tuple[Any, str]:
    """(pyarrow file system, path in it) of a URI. Raises StorageError where it cannot be opened."""
    # Here and not above: a second to import, and most places are folders.
    import pyarrow.fs as pafs

    with remote_errors("open", shown(uri)):
        scheme = split_scheme(uri)[0]
        if scheme in _OF_PYARROW:
            system, path = pafs.FileSystem.from_uri(_with_default(uri, _DEFAULTS.get(scheme, "")))
        else:
            import fsspec

            inner, path = fsspec.core.url_to_fs(uri)
            system = pafs.PyFileSystem(pafs.FSSpecHandler(inner))
    return system, path.rstrip("/")


def shown(uri: str) -> str:
    """A URI without what nobody else should see, its credentials, nor the options behind it."""
    return _CREDENTIALS.sub("", uri.partition("?")[0])


@contextlib.contextmanager
def remote_errors(action: str, where: str) -> Iterator[None]:
    """Turns whatever a file system raises into StorageError `cannot ACTION WHERE: REASON`, with an OSError as
    its cause; a FileNotFoundError of something to be read or removed passes.
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as error:  # every file system of fsspec has errors of its own
        if isinstance(error, FileNotFoundError) and action in ("read", "remove"):
            raise
        reason = _CREDENTIALS.sub("", (str(error).strip().splitlines() or [type(error).__name__])[0])
        cause = error if isinstance(error, OSError) else OSError(reason)
        raise StorageError(f"cannot {action} {where}: {reason}", hint=_HINT) from cause


def _with_default(uri: str, option: str) -> str:
    if not option or option.partition("=")[0] in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}{option}"
