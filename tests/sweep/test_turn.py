"""Workers that take turns, and never wait long for one."""

from __future__ import annotations

import threading

import pytest

from rompy_hydra.sweep.gil_turns import Turn
from rompy_hydra.workspace.record import CHECKING, RUNNING


@pytest.fixture
def lock():
    return threading.Lock()


def test_others_have_their_turn_while_a_model_runs_and_when_a_worker_is_done(lock):
    with Turn(lock) as turn:
        assert lock.locked()
        turn.at(RUNNING)
        assert not lock.locked()
        turn.at(CHECKING)
        turn.at(CHECKING)
        assert lock.locked()
    assert not lock.locked()


def test_a_worker_goes_on_without_its_turn_and_takes_it_from_nobody(lock):
    with Turn(lock) as first:
        with Turn(lock) as second:
            second.at(RUNNING)
            assert lock.locked()
        assert lock.locked()
        first.at(RUNNING)
        with Turn(lock):
            first.at(CHECKING)
        assert not lock.locked()


def test_a_turn_ends_with_an_error(lock):
    with pytest.raises(RuntimeError), Turn(lock):
        raise RuntimeError
    assert not lock.locked()
