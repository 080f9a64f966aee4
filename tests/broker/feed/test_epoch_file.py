"""The last epoch that was known, kept where the loss of the store cannot reach it."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from broker.errors import ConfigurationError
from broker.feed.epoch_file import EpochFile

FIRST, SECOND = "01JE0000000000000000000001", "01JE0000000000000000000002"


def test_where_none_was_ever_known_the_epoch_is_empty(tmp_path: Path) -> None:
    assert EpochFile(tmp_path / "epoch").read() == ""


def test_what_is_written_is_read_by_the_next_process(tmp_path: Path) -> None:
    EpochFile(tmp_path / "epoch").write(FIRST)
    EpochFile(tmp_path / "epoch").write(SECOND)
    assert EpochFile(tmp_path / "epoch").read() == SECOND
    assert [path.name for path in tmp_path.iterdir()] == ["epoch"]


def test_a_lower_epoch_never_replaces_a_higher_one(tmp_path: Path) -> None:
    """Workers share the file, and one that lags must not lead the next start back."""
    EpochFile(tmp_path / "epoch").write(SECOND)
    EpochFile(tmp_path / "epoch").write(FIRST)
    assert EpochFile(tmp_path / "epoch").read() == SECOND


def test_workers_that_write_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    epochs = [f"01JE00000000000000000000{number}" for number in range(10, 50)]
    with ThreadPoolExecutor(8) as workers:
        list(workers.map(lambda epoch: EpochFile(tmp_path / "epoch").write(epoch), epochs))
    assert EpochFile(tmp_path / "epoch").read() in epochs
    assert [path.name for path in tmp_path.iterdir()] == ["epoch"]


def test_a_write_that_breaks_off_leaves_the_last_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is flushed to disk beside the old one before it takes its place."""
    file = EpochFile(tmp_path / "epoch")
    file.write(FIRST)

    def fail(_: int) -> None:
        raise OSError

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError):  # noqa: PT011 - the one raised above
        file.write(SECOND)
    assert file.read() == FIRST


@pytest.mark.parametrize("content", ["", "zzz\n", "01JE\n", f"{FIRST}\n{SECOND}\n", "01je0000000000000000000001\n", "é\n"])
def test_a_file_that_holds_anything_else_is_refused_by_name(tmp_path: Path, content: str) -> None:
    """Unknown means no: to go on as if no epoch had ever been known could lead back to an earlier one."""
    path = tmp_path / "epoch"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError) as refused:
        EpochFile(path).read()
    assert str(path) in str(refused.value)
