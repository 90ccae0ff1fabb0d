"""Threads that share a bound on memory."""

import threading

import pytest

from wespe_tf.enhance import memory
from wespe_tf.enhance.memory import BASE, Budget, limit_needed, memory_limit, room_of_pass


def started(budget, amount, taken):
    def work():
        budget.take(amount)
        taken.append(amount)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


class TestBudget:
    def test_who_wants_more_than_is_left_waits(self):
        budget, taken = Budget(10), []
        budget.take(7)
        thread = started(budget, 4, taken)
        thread.join(0.1)
        assert taken == []
        budget.give_back(7)
        thread.join(10)
        assert taken == [4] and budget.held == 4

    def test_one_alone_may_have_more_than_there_is(self):
        budget = Budget(10)
        budget.take(25)
        assert budget.held == 25

    def test_at_its_end_nobody_waits(self):
        taken = []
        with pytest.raises(KeyError), Budget(10) as budget:
            budget.take(10)
            thread = started(budget, 10, taken)
            raise KeyError
        thread.join(10)
        assert taken == [10]


@pytest.mark.parametrize("size", [1e6, 150e6, 600e6])
def test_the_limit_that_is_needed_is_enough_and_no_less(size):
    room = 80e6
    needed = limit_needed(size, room)
    assert needed > BASE
    assert room_of_pass(needed, size) == pytest.approx(room)
    assert room_of_pass(needed - 0.01, size) < room


class TestLimit:
    def test_auto_is_half_of_what_is_available(self, monkeypatch):
        monkeypatch.setattr(memory, "available_memory", lambda: 8e9)
        assert memory_limit("auto") == 4.0 and memory_limit("1.5") == memory_limit(1.5) == 1.5

    def test_what_is_available_is_no_more_than_there_is(self):
        assert 1e7 < memory.available_memory() < 1e14

    @pytest.mark.parametrize("version", [1, 2])
    def test_groups_above_count_too(self, tmp_path, monkeypatch, version):
        """The least room of this group and of those above it; a file cache can be given up."""
        root, name, limit, usage, cache = memory.GROUPS[0 if version == 2 else 1]
        monkeypatch.setattr(memory, "GROUPS", ((str(tmp_path), name, limit, usage, cache),))
        for folder, most, used in ((tmp_path / "a", 900, 500), (tmp_path / "a/b", 2000, 100)):
            folder.mkdir()
            (folder / limit).write_text(f"{most}\n")
            (folder / usage).write_text(f"{used}\n")
            (folder / "memory.stat").write_text(f"rss 7\n{cache} 50\n")
        membership = tmp_path / "cgroup"
        membership.write_text("4:memory:/a/b\n" if version == 1 else "0::/a/b\n")
        assert sorted(memory._group_rooms(str(membership))) == [450, 1950]
        (tmp_path / "a" / limit).write_text("max\n")
        assert memory._group_rooms(str(membership)) == [1950]
