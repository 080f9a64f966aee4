"""The files of a replica: looked at without being read, and read when nobody writes them."""

import os
from pathlib import Path

from broker.active.own_files import Folders, OwnFiles
from tests.broker.world import write_files


def test_a_file_that_goes_away_while_one_looks_is_no_file(tmp_path: Path) -> None:
    write_files(tmp_path)
    folders = Folders(tmp_path / "registry", tmp_path / "policies")
    before = folders.look()
    (tmp_path / "policies" / "away.cedar").symlink_to(tmp_path / "nothing")
    assert folders.look() == before


def test_a_file_that_is_replaced_by_one_of_the_same_size_and_time_has_changed(tmp_path: Path) -> None:
    """As `rsync` and unpacking leave it: the place on disk is another."""
    write_files(tmp_path)
    own = OwnFiles(Folders(tmp_path / "registry", tmp_path / "policies"), lambda _: [])
    file = tmp_path / "policies" / "agents.cedar"
    aside = file.with_name("aside")
    aside.write_bytes(file.read_bytes())
    known = file.stat()

    os.utime(aside, ns=(known.st_atime_ns, known.st_mtime_ns))
    aside.replace(file)
    assert [own.has_changed() for _ in range(2)] == [False, True]


def test_what_is_unused_in_a_folder_is_not_looked_at(tmp_path: Path) -> None:
    write_files(tmp_path)
    own = OwnFiles(Folders(tmp_path / "registry", tmp_path / "policies"), lambda _: [])
    (tmp_path / "registry" / "notes.md").write_text("remember")
    (tmp_path / "policies" / "tests").mkdir()
    assert not any(own.has_changed() for _ in range(3))
