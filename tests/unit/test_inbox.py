"""Reports overtake each other on their way to the controller, and are handled in their order all the same."""

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from trainers.elastic.messages import Finished, StepPoint, StepsDone
from trainers.ray_train.happenings import Happening, Look, Lost, Over, Reported
from trainers.ray_train.inbox import Inbox


def steps(worker: str, step: int) -> StepsDone:
    point = StepPoint(
        step=step,
        epoch=0,
        first=0,
        last=8,
        time_s=0.0,
        step_s=0.1,
        generation=1,
        world_size=1,
        skipped=False,
        metrics={},
    )
    return StepsDone(worker, 1, (point,))


def said(worker: str, count: int) -> list[Reported | Over]:
    """One report for each step, and the end."""
    reports = [Reported(number, steps(worker, number)) for number in range(1, count + 1)]
    return [*reports, Over(worker, count + 1, Finished(count, "p", "o"))]


def heard(arrivals: Sequence[Happening]) -> list[Happening]:
    async def listen() -> list[Happening]:
        inbox = Inbox()
        for happening in arrivals:
            inbox.put(happening)
        found: list[Happening] = []
        while True:
            try:
                async with asyncio.timeout(0):
                    found.append(await inbox.get())
            except TimeoutError:
                return found

    return asyncio.run(listen())


@given(st.permutations([*said("w1", 5), *said("w2", 3)]), st.data())
def test_what_each_worker_says_is_heard_once_and_in_its_order(
    arrivals: list[Reported | Over], data: st.DataObject
) -> None:
    twice = data.draw(st.lists(st.sampled_from(arrivals)))
    found = heard([*arrivals, *twice])
    for worker, count in (("w1", 5), ("w2", 3)):
        of_it = [each for each in found if isinstance(each, Reported | Over) and each.worker_id == worker]
        assert of_it == said(worker, count)


def test_nobody_waits_for_the_reports_of_another() -> None:
    late, end = said("w1", 1)
    assert heard([end, *said("w2", 1)]) == said("w2", 1)
    assert heard([end, *said("w2", 1), late]) == [*said("w2", 1), late, end]


def test_what_no_worker_said_is_heard_at_once() -> None:
    _, end = said("w1", 1)
    lost, look = Lost("w1", "its process died"), Look()
    assert heard([end, lost, look]) == [lost, look]
