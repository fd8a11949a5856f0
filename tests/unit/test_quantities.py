import pytest

from orchestrator.domain.quantities import parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30.0),
        ("10m", 600.0),
        ("2h", 7200.0),
        ("1h30m", 5400.0),
        ("2d", 172_800.0),
        ("250ms", 0.25),
        ("1m500ms", 60.5),
        ("1.5h", 5400.0),
        ("0.1s", 0.1),
        ("45", 45.0),
        (" 45s ", 45.0),
        ("0s", 0.0),
    ],
)
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "  ", "abc", "2x", "-5s", "30m1h", "1h1h", "1 h", "5S", "1e3s", "inf"])
def test_a_duration_that_cannot_be_read_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a duration such as '30s', '10m' or '1h30m', got '"):
        parse_duration(text)


def test_a_duration_beyond_all_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        parse_duration("9" * 400 + "s")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2Gi", 2 * 2**30),
        ("512Mi", 512 * 2**20),
        ("1G", 10**9),
        ("1.5GB", 1_500_000_000),
        ("1.5 GiB", 3 * 2**29),
        ("64Ki", 65_536),
        ("3k", 3000),
        ("3K", 3000),
        ("100", 100),
        ("100B", 100),
        ("1T", 10**12),
    ],
)
def test_a_size_is_read_as_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "Gi", "-1Gi", "1,5G", "two"])
def test_a_size_that_cannot_be_read_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a size such as '512Mi', '2Gi' or '1.5GB', got '"):
        parse_size(text)


def test_a_unit_in_the_wrong_case_is_corrected() -> None:
    with pytest.raises(ValueError, match="unknown unit 'gi' in '2gi', did you mean 'Gi'"):
        parse_size("2gi")


def test_an_unknown_unit_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown unit 'x' in '2x', expected one of K, M, G, T, P"):
        parse_size("2x")


def test_a_size_beyond_64_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        parse_size("9000000Pi")
