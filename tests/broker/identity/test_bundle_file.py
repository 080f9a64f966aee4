"""Bundles in files: read again when they change, and kept when the change is no good. Whom they prove: `test_spiffe.py`."""

import json
import os
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from broker.errors import ConfigurationError
from broker.identity import BundleFile
from tests.broker.clocks import StillClock
from tests.broker.identity.domains import PROD, PROD_NEXT, bundle


class File:
    """A bundle in a file; every write is a second newer than the one before."""

    def __init__(self, folder: Path) -> None:
        self.clock = StillClock()
        self.path = folder / "bundle.json"
        self._writes = self.clock.seconds
        self.write(bundle(PROD))
        self.source = BundleFile(self.path, clock=self.clock)

    def write(self, document: object) -> None:
        self.path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
        os.utime(self.path, (self._writes, self._writes))
        self._writes += 1


def failures() -> float:
    return REGISTRY.get_sample_value("broker_identity_failures_total", {"what": "bundle in bundle.json"}) or 0.0


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path)


def test_a_file_that_does_not_change_is_the_same_bundle(file: File) -> None:
    assert file.source.bundle is file.source.bundle


def test_a_changed_file_is_another_bundle(file: File) -> None:
    before = file.source.bundle
    file.write(bundle(PROD_NEXT))
    assert file.source.bundle is not before
    assert file.source.bundle.jwt_authorities.get(PROD_NEXT.kid) is not None


def test_a_file_of_the_same_time_and_another_size_has_changed(file: File) -> None:
    """The clock of files may be coarse."""
    stamp = file.path.stat().st_mtime_ns
    file.write(bundle(PROD, PROD_NEXT))
    os.utime(file.path, ns=(stamp, stamp))
    assert len(file.source.bundle.jwt_authorities) == 2


def test_what_is_wrong_with_a_file_is_told_until_it_is_right(file: File) -> None:
    before = failures()
    file.write(b"{")
    assert "not the JSON" in file.source.state.problem
    assert failures() == before + 1
    file.write(bundle(PROD, use=None))
    assert "use = jwt-svid" in file.source.state.problem
    assert failures() == before + 2
    file.write(bundle(PROD_NEXT))
    assert file.source.state.problem == ""
    assert file.source.state.source == f"file {file.path}"


def test_a_broken_file_is_read_once(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    good = file.source.bundle
    file.write(b"{")
    assert file.source.bundle is good
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("read again"))
    assert file.source.bundle is good


def test_a_file_that_cannot_be_read_now_is_tried_again(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many open files, for one: nothing about the file will change when it passes."""

    def fail(_: Path) -> bytes:
        raise OSError(24, "Too many open files")

    good, before = file.source.bundle, failures()
    file.write(bundle(PROD_NEXT))
    with monkeypatch.context() as broken:
        broken.setattr(Path, "read_bytes", fail)
        assert file.source.bundle is good
        assert file.source.bundle is good
        assert (file.source.state.problem, failures()) == ("cannot be read: Too many open files", before + 1)
    assert file.source.bundle is not good
    assert file.source.state.problem == ""


def test_a_file_that_is_gone_leaves_the_bundle_and_says_so(file: File) -> None:
    good = file.source.bundle
    file.path.unlink()
    assert file.source.bundle is good
    assert "No such file" in file.source.state.problem


def test_a_file_that_goes_back_is_not_believed(file: File) -> None:
    """An authority that was taken out must not come back with an old copy."""
    file.write({**bundle(PROD), "spiffe_sequence": 7})
    newest = file.source.bundle
    file.write({**bundle(PROD_NEXT), "spiffe_sequence": 6})
    assert file.source.bundle is newest
    assert "went back from 7 to 6" in file.source.state.problem
    file.write({**bundle(PROD_NEXT), "spiffe_sequence": 8})
    assert file.source.bundle is not newest


def test_the_age_is_that_of_the_bundle_in_force(file: File) -> None:
    file.clock.advance(90_000)
    assert file.source.state.age == 90
    file.write(b"{")
    assert file.source.state.age == 90
    file.write(bundle(PROD_NEXT))
    assert file.source.state.age == 88
    file.clock.set("2020-01-01T00:00:00")
    assert file.source.state.age == 0


def test_following_a_file_takes_no_thread(file: File) -> None:
    file.source.start()
    file.source.wake()
    file.source.refresh()
    file.source.close()
    assert file.source.bundle.has_authorities


def test_a_file_that_is_not_there_at_the_beginning_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"gone\.json"):
        BundleFile(tmp_path / "gone.json")
