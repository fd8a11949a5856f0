"""`python -m benchmarks NAME [--json]`: Tumbler beside its peers, in one run on one machine."""

import argparse
import importlib
from typing import Final, cast

from rich.console import Console

from benchmarks.report import Report, print_report

BENCHMARKS: Final = {
    "recovery": "a worker is killed: time to the next step and to full strength, steps repeated",
    "resize": "a run grows and shrinks while it trains: how long the group pauses, steps repeated",
    "overhead": "a step when nothing goes wrong, beside DDP and train.consistency fast",
    "startup": "from a fresh process to the first step, and from the last step to the end of the process",
    "feed": "rows from segments, resumes, the first batch of a first run, memory of a long feed",
    "checkpoint": "what saving costs the steps around it, time to commit, restore beside reading its bytes",
    "schedule": "a scheduling round over a long queue: the decision alone, and as the service does it",
    "control_plane": "the service: submits at a fixed rate beside a long queue, long lists, streams",
    "dashboard": "its pages over a long record in a real browser, and how soon an event is on the page",
}
"""Name, which is also the module with `run() -> Report`, and what it measures."""


def main() -> None:
    """Exits with 0 if the benchmark ran, whatever its bars say, and with 2 on wrong usage."""
    known = "\n".join(f"  {name:15}{summary}" for name, summary in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"benchmarks:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", choices=BENCHMARKS, nargs="?", help="what to measure")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, for a first look")
    arguments = parser.parse_args()
    if arguments.list:
        print(*BENCHMARKS, sep="\n")
        return
    if arguments.name is None:
        parser.error("NAME is missing")
    report = cast(
        "Report", importlib.import_module(f"benchmarks.{arguments.name}").run(quick=arguments.quick)
    )
    print_report(report, Console())
    if arguments.json:
        print(report.to_json())


if __name__ == "__main__":
    main()
