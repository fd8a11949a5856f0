import pytest

from orchestrator.domain.errors import ClusterUnavailable
from trainers.ray_train.internals import SUPPORTED_RAY, check_ray_version


@pytest.mark.parametrize("version", ["2.61.0", "2.6.0", "2.59.1", "3.0.0", "3.0.0.dev0", "2.601.0"])
def test_another_ray_is_refused_with_the_fix(version: str) -> None:
    with pytest.raises(ClusterUnavailable) as caught:
        check_ray_version(version)
    assert str(caught.value) == f"Tumbler builds on Ray {SUPPORTED_RAY} and found Ray {version}"
    assert caught.value.hint == f"pip install 'ray[train,data,default]=={SUPPORTED_RAY}.*'"


@pytest.mark.parametrize("version", ["2.60.0", "2.60.1", "2.60.0rc1", "2.60.12"])
def test_any_patch_of_the_supported_ray_is_taken(version: str) -> None:
    check_ray_version(version)


def test_the_ray_that_is_installed_is_supported() -> None:
    check_ray_version()
