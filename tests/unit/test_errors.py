import pickle
from typing import Any

import pytest

from orchestrator.domain import errors
from orchestrator.domain.errors import Problem, SpecError, TumblerError

PROBLEM = Problem("workers.mx", "unknown field, did you mean 'max'?", "run.yaml", 12, 3)


def all_error_classes() -> list[type[TumblerError]]:
    found = [value for value in vars(errors).values() if isinstance(value, type)]
    return [value for value in found if issubclass(value, TumblerError)]


def make(error_class: type[TumblerError]) -> TumblerError:
    argument: Any = (PROBLEM,) if issubclass(error_class, SpecError) else "the disk is full"
    return error_class(argument, hint="free some space")


@pytest.mark.parametrize("error_class", all_error_classes())
def test_every_error_survives_a_pickle_round_trip(error_class: type[TumblerError]) -> None:
    error = make(error_class)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is error_class
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
    assert copy.hint == "free some space"


@pytest.mark.parametrize(
    ("name", "exit_code"),
    [
        ("TumblerError", 1),
        ("SpecError", 3),
        ("DataError", 3),
        ("RunNotFound", 4),
        ("RunExists", 6),
        ("ClusterUnavailable", 1),
        ("StorageError", 1),
        ("DiskFull", 1),
        ("CheckpointError", 1),
        ("CheckpointNotFound", 4),
        ("NodeNotFound", 4),
        ("WorkerNotFound", 4),
        ("WrongStatus", 6),
        ("Stale", 6),
        ("KeyReused", 6),
        ("BadCursor", 2),
        ("LeaseLost", 1),
        ("ServiceUnreachable", 7),
        ("NotFinished", 101),
        ("RunFailed", 100),
        ("RunCancelled", 103),
    ],
)
def test_the_exit_code_is_the_published_one(name: str, exit_code: int) -> None:
    assert getattr(errors, name).exit_code == exit_code


def test_the_published_exit_codes_cover_every_error_class() -> None:
    assert len(all_error_classes()) == 21


def test_a_problem_reads_as_place_pointer_and_sentence() -> None:
    assert str(PROBLEM) == "run.yaml:12:3 workers.mx: unknown field, did you mean 'max'?"


def test_a_problem_without_a_file_reads_as_pointer_and_sentence() -> None:
    assert str(Problem("workers", "at least 1 is needed")) == "workers: at least 1 is needed"


def test_a_problem_of_the_whole_spec_has_no_pointer_in_front() -> None:
    assert str(Problem("", "the file is empty", "run.yaml", 1, 1)) == "run.yaml:1:1 the file is empty"


def test_a_spec_error_prints_each_problem_on_its_own_line() -> None:
    error = SpecError([PROBLEM, Problem("name", "too long")])
    assert str(error) == f"{PROBLEM}\nname: too long"
    assert error.problems == (PROBLEM, Problem("name", "too long"))
