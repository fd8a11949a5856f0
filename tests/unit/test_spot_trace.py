from pathlib import Path

from tests.chaos.spot_trace import Change, read_changes


def test_a_trace_is_brought_to_a_few_nodes_in_a_few_seconds(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    lines = [f"0,add,n{number}" for number in range(8)]
    lines += ["1000,remove,n1", "1000,remove,n2", "1000,remove,n3", "1000,remove,n4", "2000,add,n9"]
    lines += [f"4000,remove,n{number}" for number in (0, 5, 6, 7, 9)]
    trace.write_text("\n".join(lines) + "\n")
    assert read_changes(trace, most=4, duration_s=2.0) == [
        Change(0.0, 4),
        Change(0.5, 2),
        Change(2.0, 1),
    ]
