"""Files that a crash leaves whole."""

from pathlib import Path

import pytest

from broker import durable_file


def test_what_was_written_is_there_and_nothing_beside_it(tmp_path: Path) -> None:
    for content in (b"first", b"second"):
        durable_file.write(tmp_path / "file", content)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"second")]


def test_name_and_content_are_flushed_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is renamed and whose folder is not flushed can be the old one after a power cut."""
    flushed = []
    monkeypatch.setattr(
        durable_file.os, "fsync", lambda descriptor: flushed.append(Path(f"/proc/self/fd/{descriptor}").resolve())
    )
    durable_file.write(tmp_path / "file", b"content")
    assert [path == tmp_path for path in flushed] == [False, True]


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    durable_file.write(tmp_path / "file", b"before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable_file.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        durable_file.write(tmp_path / "file", b"after")
    assert (tmp_path / "file").read_bytes() == b"before"
