"""What of a user's folder is shipped, and what is refused."""

import io
import os
import zipfile
from pathlib import Path

import pytest

from cluster import packages
from cluster.errors import PackageRefused
from cluster.packages import OUR_PACKAGES, pack
from cluster.shipping import our_archive, ray_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    code = tmp_path / "code"
    write(code / "task.py", "x = 1\n")
    write(code / "lib" / "layers.py", "y = 2\n")
    return code


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def names(content: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(content)).namelist()


def test_a_folder_becomes_one_archive_with_its_files(folder: Path) -> None:
    package = pack(folder)
    archive = zipfile.ZipFile(io.BytesIO(package.content))
    assert archive.namelist() == ["lib/layers.py", "task.py"]
    assert archive.read("lib/layers.py") == b"y = 2\n"
    assert package.num_bytes == len(package.content)


def test_the_same_files_give_the_same_bytes_wherever_and_whenever(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write(other / "lib" / "layers.py", "y = 2\n")
    write(other / "task.py", "x = 1\n")
    os.utime(other / "task.py", (1, 1))
    assert pack(folder) == pack(other)


def test_another_byte_gives_another_name(folder: Path) -> None:
    before = pack(folder).sha256
    write(folder / "task.py", "x = 2\n")
    assert pack(folder).sha256 != before


def test_a_program_stays_one_that_can_be_run(folder: Path) -> None:
    write(folder / "tool.sh").chmod(0o700)
    archive = zipfile.ZipFile(io.BytesIO(pack(folder).content))
    modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in archive.infolist()}
    assert modes == {"lib/layers.py": 0o644, "task.py": 0o644, "tool.sh": 0o755}


def test_caches_environments_and_git_are_left_out(folder: Path) -> None:
    for path in (".git/HEAD", "__pycache__/task.pyc", "lib/__pycache__/a.pyc", ".venv/bin/python"):
        write(folder / path)
    assert names(pack(folder).content) == ["lib/layers.py", "task.py"]


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        (["*.bin"], ["lib/layers.py", "runs/a/log", "task.py"]),
        (["runs/"], ["lib/layers.py", "task.py", "weights.bin"]),
        (["/lib", "*.bin"], ["runs/a/log", "task.py"]),
        (["*", "!task.py"], ["task.py"]),
    ],
)
def test_excludes_are_patterns_as_in_gitignore(folder: Path, exclude: list[str], left: list[str]) -> None:
    write(folder / "weights.bin")
    write(folder / "runs" / "a" / "log")
    assert names(pack(folder, exclude).content) == left


def test_a_link_inside_the_folder_is_followed(folder: Path) -> None:
    (folder / "same.py").symlink_to("task.py")
    (folder / "more").symlink_to("lib")
    archive = zipfile.ZipFile(io.BytesIO(pack(folder).content))
    assert archive.read("same.py") == b"x = 1\n"
    assert archive.read("more/layers.py") == b"y = 2\n"


@pytest.mark.parametrize("target", ["/etc/hostname", "../secret.py"])
def test_a_link_to_a_file_outside_is_refused(folder: Path, target: str) -> None:
    write(folder.parent / "secret.py")
    (folder / "link").symlink_to(target)
    with pytest.raises(PackageRefused, match="which is outside the folder") as refused:
        pack(folder)
    assert refused.value.exit_code == 3
    assert "code.exclude" in refused.value.hint


def test_a_link_to_a_folder_outside_is_refused(folder: Path) -> None:
    write(folder.parent / "data" / "rows.txt")
    (folder / "data").symlink_to(folder.parent / "data")
    with pytest.raises(PackageRefused, match="which is outside the folder"):
        pack(folder)


def test_a_link_that_leads_out_is_no_matter_when_it_is_excluded(folder: Path) -> None:
    (folder / "data").symlink_to("/etc")
    assert names(pack(folder, ["data"]).content) == ["lib/layers.py", "task.py"]


def test_a_link_in_a_circle_is_refused(folder: Path) -> None:
    (folder / "lib" / "again").symlink_to(folder)
    with pytest.raises(PackageRefused, match="links to a folder that it lies in"):
        pack(folder)


def test_links_that_make_a_circle_together_are_refused(folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "lib" / "next").symlink_to(folder / "other")
    (folder / "other" / "next").symlink_to(folder / "lib")
    with pytest.raises(PackageRefused, match="links to a folder that it lies in"):
        pack(folder)


def test_a_link_to_nowhere_is_left_out(folder: Path) -> None:
    (folder / "gone.py").symlink_to("nothing.py")
    assert names(pack(folder).content) == ["lib/layers.py", "task.py"]


@pytest.mark.parametrize("name", OUR_PACKAGES)
def test_a_folder_named_like_a_package_of_ours_is_refused(folder: Path, name: str) -> None:
    write(folder / name / "mine.py")
    with pytest.raises(PackageRefused, match=f"has a folder named '{name}'.*rename it"):
        pack(folder)


def test_a_module_named_like_a_package_of_ours_is_refused(folder: Path) -> None:
    write(folder / "trainers.py")
    with pytest.raises(PackageRefused, match=r"has a file named 'trainers\.py'"):
        pack(folder)


def test_a_folder_named_like_ours_that_holds_no_modules_is_shipped(folder: Path) -> None:
    write(folder / "api" / "notes.txt")
    assert "api/notes.txt" in names(pack(folder).content)


def test_a_folder_that_is_too_large_is_refused_with_its_largest_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "LARGEST_PACKAGE", 2 << 20)
    write(folder / "weights.bin", "0" * (3 << 20))
    with pytest.raises(PackageRefused, match=r"holds 3 MiB and at most 2 MiB.*weights\.bin with 3 MiB"):
        pack(folder)
    assert pack(folder, ["*.bin"]).num_bytes < 1000


@pytest.mark.parametrize("path", ["nothing", "code/task.py"])
def test_only_a_folder_is_packed(folder: Path, path: str) -> None:
    with pytest.raises(PackageRefused, match="is not a folder"):
        pack(folder.parent / path)


def test_our_own_code_is_shipped_without_caches_and_without_the_service() -> None:
    found = names(our_archive())
    assert {"trainers/driver.py", "orchestrator/domain/spec.py"} <= set(found)
    assert {name.partition("/")[0] for name in found} == {"orchestrator", "trainers"}
    assert not [name for name in found if name.endswith(".pyc")]


def test_ray_knows_a_package_by_its_content() -> None:
    assert ray_name(b"a") != ray_name(b"b")
    assert ray_name(b"a") == "_ray_pkg_86f7e437faa5a7fce15d1ddcb9eaeaea377667b8.zip"
