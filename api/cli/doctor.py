"""`tumbler doctor`: is this machine fit to train on, and if not, what to do."""

from dataclasses import asdict, dataclass
from enum import StrEnum

from api.cli.arguments import DEFAULT_STORAGE, Output, Storage
from api.cli.output import Columns, Format, put


class Verdict(StrEnum):
    OK = "ok"
    WARNING = "warning"
    """Works, but not well."""
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    verdict: Verdict
    found: str
    fix: str = ""
    """Empty where nothing is to be done."""


def doctor(*, storage: Storage = DEFAULT_STORAGE, output: Output = Format.TABLE) -> int:
    """Check this machine, and say what to fix. Exits with 1 where something does not work."""
    # The checks import ray and torch, for a package that is there need not work.
    from api.cli.checkup import examine_machine

    findings = list(examine_machine(storage.expanduser()))
    rows = [(one.what, one.verdict, one.found, one.fix) for one in findings]
    put([asdict(one) for one in findings], Columns(("what", "verdict", "found", "fix"), rows), output)
    return 1 if any(one.verdict is Verdict.PROBLEM for one in findings) else 0
