import random

import pytest

from orchestrator.domain.names import check_name, generate_name


def test_a_generated_name_is_legal_and_has_three_parts() -> None:
    source = random.Random(17)
    for _ in range(2000):
        name = generate_name(source)
        adjective, noun, digits = check_name(name).split("-")
        assert adjective.isalpha()
        assert noun.isalpha()
        assert len(digits) == 4
        assert int(digits, 16) >= 0


def test_the_same_source_gives_the_same_name() -> None:
    assert generate_name(random.Random(5)) == generate_name(random.Random(5))


def test_seeding_the_global_generator_does_not_repeat_names() -> None:
    names = set()
    for _ in range(3):
        random.seed(1)
        names.add(generate_name())
    assert len(names) == 3


def test_drawing_a_name_leaves_the_global_generator_alone() -> None:
    random.seed(1)
    before = random.getstate()
    generate_name()
    assert random.getstate() == before


@pytest.mark.parametrize("name", ["a", "7", "gpt-nano-2", "a--b", "x" * 63])
def test_a_dns_label_is_a_legal_name(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "a.b", "a b", "Run", "ä", "a/b", "../x", "a\n"])
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected lower-case letters, digits and inner dashes"):
        check_name(name)


def test_a_refused_name_comes_with_a_legal_one() -> None:
    with pytest.raises(ValueError, match="got 'My_Run', try 'my-run'"):
        check_name("My_Run")


def test_a_name_that_is_too_long_is_refused_with_its_length() -> None:
    with pytest.raises(ValueError, match="expected at most 63 characters, got 64"):
        check_name("x" * 64)
