"""`tumbler version`."""

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

from api.cli.arguments import Output
from api.cli.output import Format, put

_PACKAGES = ("tumbler", "ray", "torch", "pyarrow", "pydantic")


def version(*, output: Output = Format.TABLE) -> None:
    """Show the versions that matter, without importing what they belong to."""
    found: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            found[name] = version_of(name)
        except PackageNotFoundError:
            found[name] = None
    found["python"] = platform.python_version()
    put(found, {name: value or "not installed" for name, value in found.items()}, output)
