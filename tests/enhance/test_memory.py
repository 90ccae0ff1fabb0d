"""Threads that share a bound on memory."""

import threading

import pytest

from wespe_tf.enhance.memory import BASE, Budget, limit_needed, room_of_pass


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
