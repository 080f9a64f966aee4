import os

import pytest

from scopes.forks import renew_in_child


class Renewed:
    def __init__(self) -> None:
        self.times = 0

    def renew(self) -> None:
        self.times += 1


@pytest.fixture
def in_child(monkeypatch):
    """What a child would do when it begins."""
    acts = []
    monkeypatch.setattr(os, "register_at_fork", lambda *, after_in_child: acts.append(after_in_child))
    return lambda: [act() for act in acts]


def test_what_is_there_is_renewed_in_each_child(in_child):
    owner = Renewed()
    renew_in_child(owner)
    in_child()
    in_child()
    assert owner.times == 2


def test_what_is_gone_is_left_alone(in_child):
    renew_in_child(Renewed())
    in_child()
