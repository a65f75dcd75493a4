"""The one atomic write: a file is the old one, or the new one."""

import errno
import json
import os

import pytest

from keras_cvae.files import (
    WriteError,
    atomic,
    check_writable,
    leftovers,
    parsed,
    read_json,
    write_json,
)


@pytest.mark.parametrize("durable", [False, True])
def test_a_whole_file_takes_the_place_of_the_old_one(tmp_path, durable):
    path = tmp_path / "notes.txt"
    path.write_text("old")
    with atomic(path, durable=durable) as temporary:
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".txt")
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("error", [OSError("no space"), KeyboardInterrupt()])
def test_what_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "notes.txt"
    path.write_text("old")

    def fail():
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


def test_what_the_system_refuses_is_said_in_words(tmp_path):
    def write(error, path=tmp_path / "deeper" / "notes.txt"):
        path.parent.mkdir(exist_ok=True)
        with atomic(path):
            if isinstance(error, str):
                path.parent.rmdir()
                error = FileNotFoundError(2, error)
            raise error

    with pytest.raises(WriteError, match=r"^Cannot write '.*notes.txt': the disk is full\. Make"):
        write(OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(WriteError, match="its folder has disappeared"):
        write("No such file or directory")
    with pytest.raises(FileNotFoundError, match=r"read\.me"):
        write(FileNotFoundError(2, "No such file", "read.me"))


def test_two_writers_of_one_file_have_names_of_their_own(tmp_path):
    path = tmp_path / "notes.txt"
    with atomic(path) as first:
        with atomic(path) as second:
            first.write_text("first")
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"


def test_a_missing_folder_is_named_before_anything_is_computed(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"missing' of 'notes\.txt' does not exist"),
        atomic(tmp_path / "missing" / "notes.txt"),
    ):
        pytest.fail("the block ran")


def test_leftovers_are_the_temporary_files_of_this_path_alone(tmp_path):
    path = tmp_path / "model.keras"
    with atomic(path) as temporary:
        temporary.write_text("")
        (tmp_path / ".model.mine.keras").touch()
        (tmp_path / ".model.0123abcd.json").touch()
        assert leftovers(path) == [temporary]


def test_json_is_written_as_people_read_it(tmp_path):
    write_json(tmp_path / "a.json", {"näme": [1, 2.5]})
    assert read_json(tmp_path / "a.json") == {"näme": [1, 2.5]}
    assert read_json(tmp_path / "b.json") == {}
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"näme": [1, 2.5]}


@pytest.mark.parametrize("content", [b'{"loss": [1.0, 2', b"\xff\xfe{}", b"", b"[1, 2]", b"null"])
def test_damaged_json_is_named(tmp_path, content):
    path = tmp_path / "history.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"history\.json' is damaged: "):
        read_json(path)


@pytest.mark.parametrize(
    ("text", "language"),
    [("[" * 5000 + "]" * 5000, "json"), ("[" * 200 + "]" * 200, "json"), ('{"a":' * 5000, "json")]
    + [("a = " + "[" * n + "]" * n, "toml") for n in (200, 5000)],
)
def test_what_nests_too_deep_is_refused(text, language):
    with pytest.raises(ValueError, match="nests more than 100 deep"):
        parsed(text, language)
    assert parsed("[" * 90 + "]" * 90)
    assert parsed("a = 1", "toml") == {"a": 1}


def test_a_folder_that_cannot_be_written_is_said_at_once(tmp_path, monkeypatch):
    check_writable(tmp_path / "made" / "later")
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="file' is a file"):
        check_writable(tmp_path / "file" / "inside")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(WriteError, match=r"^Cannot write to '.*later': .* is read-only\. Choose"):
        check_writable(tmp_path / "made" / "later")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
