"""Files appear together and whole, or not at all, and a directory made for them doesn't outlive a failure."""

import os
from pathlib import Path

import pytest

from posterity.cli.output import output_directory, write_together


def test_files_are_written_together(tmp_path: Path):
    texts = {"a": "one", "b": "zwö"}
    (tmp_path / "b").write_text("old")
    write_together(tmp_path, texts)
    assert {file.name: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()} == texts


def test_a_failure_while_writing_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a").write_text("old")

    def full(self: Path, *arguments: object, **keywords: object) -> int:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="no space"):
        write_together(tmp_path, {"a": "new", "b": "new"})
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_missing_directory_is_made_with_its_parents(tmp_path: Path):
    place = tmp_path / "one" / "two"
    with output_directory(place):
        write_together(place, {"a": "text"})
    assert (place / "a").read_text() == "text"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_failure_removes_what_was_made_for_it_and_no_more(tmp_path: Path, error: type[BaseException]):
    with pytest.raises(error), output_directory(tmp_path / "one" / "two"):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_what_others_put_there(tmp_path: Path):
    def work() -> None:
        with output_directory(tmp_path / "one"):
            (tmp_path / "one" / "theirs").write_text("keep")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert (tmp_path / "one" / "theirs").exists()


def test_an_existing_directory_survives_a_failure(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), output_directory(tmp_path):
        raise KeyboardInterrupt
    assert tmp_path.is_dir()


def test_a_file_in_the_way_is_an_error_before_any_work(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError), output_directory(tmp_path / "file"):
        pytest.fail("the work began")
    with pytest.raises(NotADirectoryError), output_directory(tmp_path / "file" / "below"):
        pytest.fail("the work began")


def test_a_directory_in_a_files_place_is_an_error_before_any_work(tmp_path: Path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(IsADirectoryError), output_directory(tmp_path, ["report.html"]):
        pytest.fail("the work began")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="everything is writable to root")
def test_a_directory_without_permission_is_an_error_before_any_work(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError), output_directory(tmp_path):
        pytest.fail("the work began")
