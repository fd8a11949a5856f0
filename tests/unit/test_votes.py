import pytest

from orchestrator.domain.votes import Vote, count_votes


@pytest.mark.parametrize(
    ("checksums", "vote"),
    [
        ([7], Vote(True, ())),
        ([7, 7, 7], Vote(True, ())),
        ([7, 8, 7], Vote(False, (1,))),
        ([9, 7, 7, 8, 7], Vote(False, (0, 3))),
        ([7, 8], Vote(False, ())),
        ([7, 7, 8, 8], Vote(False, ())),
        ([7, 8, 9], Vote(False, ())),
        ([7, 7, 8, 9], Vote(False, ())),
    ],
)
def test_a_minority_is_outvoted_by_more_than_half_and_by_no_less(checksums: list[int], vote: Vote) -> None:
    assert count_votes(checksums) == vote
