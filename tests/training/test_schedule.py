"""The schedules as state machines, on recorded losses."""

import json

import pytest

from wespe_tf.config.loading import load
from wespe_tf.config.schema import TrainConfig
from wespe_tf.errors import UserError
from wespe_tf.models.wespe import BOTH, DISCRIMINATORS, GENERATORS
from wespe_tf.training.schedule import Alternating, DynamicBalance, Simultaneous, make_schedule

G, D = GENERATORS, DISCRIMINATORS


def turns(schedule, count):
    return [schedule.turn() for _ in range(count)]


def play(schedule, losses):
    """Turns and states of a schedule that is told (generator, discriminator) losses, of which it
    sees that of the side that trained."""
    found = []
    for generator_loss, discriminator_loss in losses:
        side = schedule.turn()
        found.append((side, schedule.current))
        if side == G:
            schedule.observe(generator_loss=generator_loss)
        else:
            schedule.observe(discriminator_loss=discriminator_loss)
    return found


def test_simultaneous():
    assert turns(Simultaneous(), 3) == [BOTH] * 3


class TestAlternating:
    @pytest.mark.parametrize(
        "ratio, expected",
        [((1, 1), [G, D] * 3), ((2, 1), [G, G, D] * 2), ((1, 3), [G, D, D, D] * 2)],
    )
    def test_period(self, ratio, expected):
        assert turns(Alternating(*ratio), len(expected)) == expected

    def test_one_side_alone(self):
        assert turns(Alternating(1, 0), 3) == [G] * 3
        assert turns(Alternating(0, 2), 3) == [D] * 3

    def test_resumes_in_the_middle(self):
        first, second = Alternating(2, 3), Alternating(2, 3)
        turns(first, 3)
        second.restore(first.state())
        assert turns(second, 10) == turns(first, 10)


class TestDynamicBalance:
    def test_begins_one_to_two_for_twenty_iterations(self):
        found = play(DynamicBalance(), [(0.5, 0.7)] * 21)
        assert [side for side, _ in found[:20]] == ([G, D, D] * 7)[:20]
        assert {state for _, state in found[:20]} == {"start"}
        assert found[20] == (G, "generators behind")

    @pytest.mark.parametrize(
        "losses, state, expected",
        [
            ((0.0151, 0.1), "generators behind", [G] * 8),
            ((0.0149, 0.5499), "discriminators ahead", [G, G, G, D] * 2),
            ((0.0149, 0.5501), "discriminators behind", [G, D, D, D] * 2),
        ],
    )
    def test_states_and_their_ratios(self, losses, state, expected):
        found = play(DynamicBalance(), [losses] * 28)[20:]
        assert [s for _, s in found] == [state] * 8
        assert [side for side, _ in found] == expected

    def test_at_the_thresholds_themselves(self):
        """Above is behind, below is ahead: 0.015 is not above, 0.55 is not below."""
        schedule = DynamicBalance(begin=0)
        schedule.observe(0.015, 0.55)
        schedule.turn()
        assert schedule.current == "discriminators behind"

    def test_the_mean_of_the_last_five_decides(self):
        schedule = DynamicBalance(begin=0)
        for loss in (9.0, 0.01, 0.01, 0.01, 0.01):
            schedule.observe(loss, 0.7)
        schedule.turn()
        assert schedule.current == "generators behind"
        schedule.observe(0.01)
        schedule.turn()
        assert schedule.current == "discriminators behind"

    def test_generators_train_alone_until_their_loss_falls(self):
        high, low = [(0.1, 0.7)] * 30, [(0.001, 0.7)] * 10
        found = play(DynamicBalance(), high + low)[20:]
        assert found[:10] == [(G, "generators behind")] * 10
        # Five low losses and none of the high ones are needed: 4 · 0.001 + 0.1 is above 5 · 0.015.
        assert found[10:15] == [(G, "generators behind")] * 5
        assert found[15] == (G, "discriminators behind")
        assert found[16] == (D, "discriminators behind")

    def test_without_losses_of_both_sides_the_state_stays(self):
        schedule = DynamicBalance(begin=0)
        schedule.observe(generator_loss=9.0)
        schedule.turn()
        assert schedule.current == "start"

    def test_an_epoch_begins_at_the_start_again(self):
        found = play(DynamicBalance(epoch=25), [(0.5, 0.7)] * 46)
        assert [side for side, _ in found[25:31]] == [G, D, D] * 2
        assert {state for _, state in found[25:45]} == {"start"}
        assert found[24][1] == found[45][1] == "generators behind"

    def test_resumes_in_the_middle(self):
        losses = [(0.02 if k % 11 < 5 else 0.001, 0.4 + 0.03 * (k % 10)) for k in range(120)]
        whole = play(DynamicBalance(), losses)
        assert len({state for _, state in whole}) == 4
        for cut in range(0, 120, 7):
            first, second = DynamicBalance(), DynamicBalance()
            play(first, losses[:cut])
            second.restore(json.loads(json.dumps(first.state())))
            assert play(second, losses[cut:]) == whole[cut:]


def test_from_settings():
    config = load(TrainConfig, ["schedule=alternating", "ratio=2:1"])
    assert turns(make_schedule(config), 3) == [G, G, D]
    assert isinstance(make_schedule(load(TrainConfig, [])), Simultaneous)
    settings = ["schedule=balance", "balance_begin=3", "balance_epoch=5"]
    found = play(make_schedule(load(TrainConfig, settings)), [(0.5, 1.9)] * 7)
    states = ["start"] * 3 + ["generators behind"] * 2 + ["start"] * 2
    assert [state for _, state in found] == states
    assert [side for side, _ in found] == [G, D, D, G, G, G, D]


def test_the_report_is_past_the_start_for_most_of_a_small_run():
    config = load(TrainConfig, ["preset=report_fig8", "scale=small"])
    schedule = make_schedule(config)
    states = [state for _, state in play(schedule, [(0.01, 0.9)] * config.num_train_iters)]
    assert states == ["start"] * 21 + ["discriminators behind"] * 379


@pytest.mark.parametrize("ratio", ["1", "0:0", "1:-1", "a:b", "1:2:3"])
def test_a_ratio_that_is_none(ratio):
    config = load(TrainConfig, ["schedule=alternating", f"ratio={ratio}"])
    with pytest.raises(UserError, match=f"ratio={ratio}: expected generator:discriminator"):
        make_schedule(config)
