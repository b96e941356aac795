"""The temporary database of a sweep stores points and rows, even on a full disk."""

from __future__ import annotations

import threading
import tracemalloc

import pytest
from loguru import logger

from rompy_hydra.sweep.spool import Spool
from rompy_hydra.workspace.lease import Snapshot


@pytest.fixture
def new_spool():
    spools = []

    def make():
        spools.append(Spool())
        return spools[-1]

    yield make
    for spool in spools:
        spool.close()


@pytest.fixture
def spool(new_spool):
    return new_spool()


def add(spool, label, decision="run", directory=0, number=0, payload=b""):
    return spool.add_point(label, decision, Snapshot(directory, number), [f"a={label}", "b"], payload)


def test_points_are_returned_in_the_order_in_which_they_were_added(spool):
    for x in range(250):
        assert add(spool, f"x={x}", ("run", "skip", "leave")[x % 3], payload=b"%d" % x)
    assert [point.label for point in spool.points()] == [f"x={x}" for x in range(250)]
    assert [point.index for point in spool.points("skip", "leave")] == [x for x in range(250) if x % 3]
    assert [point.payload for point in spool.points("run")][:3] == [b"0", b"3", b"6"]
    assert list(spool.points())[249].overrides == ["a=x=249", "b"]


def test_points_are_counted_by_decision(spool):
    for x, decision in enumerate(["run", "run", "skip"]):
        add(spool, f"x={x}", decision)
    assert len(spool) == 3
    assert (spool.count("run"), spool.count("skip"), spool.count("leave")) == (2, 1, 0)
    spool.mark(1, "skip")
    assert (spool.count("run"), spool.count("skip"), len(spool)) == (1, 2, 3)


def test_a_second_point_with_the_same_label_is_not_added(spool):
    assert add(spool, "x=1", "run")
    assert not add(spool, "x=1", "skip")
    assert [(point.label, point.decision) for point in spool.points()] == [("x=1", "run")]
    assert spool.count("skip") == 0
    assert list(spool.missing(["x=1", "x=2"], "points")) == ["x=2"]


@pytest.mark.parametrize("directory", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_snapshot_of_a_directory_is_returned_exactly(spool, directory):
    add(spool, "x=1", directory=directory, number=3)
    (point,) = spool.points()
    assert point.seen == (directory, 3)


def test_points_added_during_iteration_are_included(spool):
    add(spool, "x=0")
    seen = []
    for point in spool.points("run"):
        seen.append(point.index)
        if len(spool) < 500:
            for _ in range(7):
                add(spool, f"x={len(spool)}")
    assert seen == list(range(len(spool)))


def test_rows_are_sorted_by_their_key_and_replaced_by_newer_ones(spool):
    for x in range(300, 0, -1):
        spool.put_row(f"x={x}", f"{x % 10}", b"old %d" % x)
    spool.put_row("x=299", "9", b"new")
    rows = list(spool.rows())
    assert len(rows) == 300
    assert rows[0] == b"old 10"
    assert b"new" in rows[-30:]
    assert b"old 299" not in rows
    assert list(spool.missing(["x=1", "x=0"], "rows")) == ["x=0"]
    assert list(spool.missing(["x=1"], "rows", "points")) == ["x=1"]


@pytest.mark.parametrize("label", ["größe=1", "x=\udce9", "x=\ud800", "a'b\"c"])
def test_any_label_is_returned_unchanged(spool, label):
    add(spool, label)
    spool.put_row(label, label, b"row")
    assert [point.label for point in spool.points()] == [label]
    assert [point.overrides for point in spool.points()] == [[f"a={label}", "b"]]
    assert not list(spool.missing([label], "points", "rows"))


def test_several_threads_share_a_spool(spool):
    def work(first):
        for x in range(first, 1000, 4):
            add(spool, f"x={x}")
            spool.put_row(f"x={x}", f"{x:04}", b"%d" % x)
            assert x > 40 or sum(1 for _ in spool.points()) > x // 4

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(spool) == 1000
    assert list(spool.rows()) == [b"%d" % x for x in range(1000)]


def test_memory_does_not_grow_with_the_points(spool):
    tracemalloc.start()
    for x in range(20_000):
        add(spool, f"x={x}", payload=bytes(300))
    assert sum(len(point.payload) for point in spool.points()) == 20_000 * 300
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.fixture
def messages():
    found = []
    number = logger.add(found.append, level="DEBUG")
    yield found
    logger.remove(number)


@pytest.mark.parametrize("room", [0, 1, 50, 100, 150, 200])
def test_nothing_is_lost_when_the_disk_is_full(new_spool, small_disk, monkeypatch, messages, room):
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    (small_disk / "ballast").write_bytes(bytes(2**20 - room * 4096))
    spool = new_spool()
    points, rows = {}, {}
    for x in range(1500):
        label = f"x={x * 7919 % 1500}"
        points[label] = bytes(x % 1000)
        rows[f"x={x * 31 % 700}"] = b"%d" % x
        assert add(spool, label, payload=points[label])
        spool.put_row(f"x={x * 31 % 700}", f"{x * 31 % 700:04}", b"%d" % x)
        if x % 10 == 0:
            spool.mark(x // 10, "done")
    assert len([text for text in messages if "kept in memory" in text]) == 1
    assert {point.label: point.payload for point in spool.points()} == points
    assert [point.index for point in spool.points("done")] == list(range(150))
    assert list(spool.rows()) == [rows[f"x={x}"] for x in range(700)]


def test_no_file_is_left(new_spool, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    spool = new_spool()
    for x in range(300):
        add(spool, f"x={x}")
    assert list(tmp_path.iterdir()) == []
