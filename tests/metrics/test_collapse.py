"""The collapse monitor's numbers and its verdict."""

import numpy as np
import pytest

from wespe_tf.metrics.collapse import (
    collapse_score,
    has_collapsed,
    input_correlation,
    uniform_since,
)


class TestCollapseScore:
    @pytest.fixture
    def source(self, rng):
        return rng.random((4, 10, 12, 3))

    @pytest.mark.parametrize("contrast", [0, 0.25, 1, 1.5])
    def test_is_the_share_of_contrast_that_is_left(self, source, contrast):
        assert collapse_score(0.3 + contrast * source, source) == pytest.approx(contrast)

    def test_is_the_mean_over_pictures(self, source):
        contrast = np.array([0, 0.2, 0.6, 1.2]).reshape(4, 1, 1, 1)
        assert collapse_score(contrast * source, source) == pytest.approx(0.5)

    def test_flat_inputs_do_not_count(self, source):
        """Standard deviation 0.02 is where an input begins to count."""
        enhanced = source.copy()
        enhanced[2:] = 0.5
        source[2] = 0.4
        source[3] = 0.5 + 0.0199 * np.sign(np.arange(12) % 2 - 0.5)[None, :, None]
        assert collapse_score(enhanced, source) == pytest.approx(1)
        source[3] = 0.5 + 0.0201 * np.sign(np.arange(12) % 2 - 0.5)[None, :, None]
        assert collapse_score(enhanced, source) == pytest.approx(2 / 3)

    def test_a_uniform_color_has_none(self, source):
        """Different means of the channels are no spatial contrast."""
        red = np.broadcast_to([1.0, 0, 0], source.shape)
        assert collapse_score(red, source) == 0

    def test_without_any_textured_input_is_nan(self):
        assert np.isnan(collapse_score(np.ones((2, 8, 8, 3)), np.ones((2, 8, 8, 3))))


class TestInputCorrelation:
    @pytest.fixture
    def source(self, rng):
        return rng.random((3, 10, 12, 3))

    def test_of_a_negative_is_minus_one(self, source):
        assert input_correlation(1 - source, source) == pytest.approx(-1)

    def test_of_less_contrast_is_one(self, source):
        assert input_correlation(0.2 + 0.1 * source, source) == pytest.approx(1)

    def test_is_the_mean_of_pearsons_coefficients(self, source, rng):
        enhanced = rng.random(source.shape) + source * np.array([0, 0.5, 2]).reshape(3, 1, 1, 1)
        expected = np.mean(
            [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(enhanced, source)]
        )
        assert input_correlation(enhanced, source) == pytest.approx(expected)

    def test_of_a_uniform_picture_is_zero(self, source):
        assert input_correlation(np.full_like(source, 0.5), source) == pytest.approx(0, abs=1e-6)


class TestVerdict:
    @pytest.mark.parametrize(
        "scores, collapsed",
        [
            ([], False),
            # alive
            ([1.0, 1.1, 0.9], False),
            ([0.0, 0.2, 0.5], False),
            ([0.31], False),
            # uniform at the last two evaluations, alive before
            ([1.0, 0.09, 0.09], True),
            ([0.05, 0.31, 0.2, 0.0, 0.0], True),
            ([1.0, 0.09, 0.08, 0.07, 0.06], True),
            # only at one of the last two
            ([1.0, 0.09, 0.1], False),
            ([1.0, 0.1, 0.09], False),
            ([1.0, 0.09], False),
            ([0.9, 0.05, 0.05, 0.6], False),
            # the borders themselves: below 0.1, above 0.3
            ([1.0, 0.0999, 0.0999], True),
            ([1.0, 0.1, 0.1], False),
            ([0.3, 0.0, 0.0], True),  # never above 0.3
            ([0.3001, 0.0999, 0.0999], True),
            ([0.2, 0.3, 0.25], True),
            ([0.2, 0.3001, 0.25], False),
            # never alive in the whole run
            ([0.0], True),
            ([0.3], True),
            ([0.2, 0.25], True),
        ],
    )
    def test_follows_the_two_rules(self, scores, collapsed):
        assert has_collapsed(scores) is collapsed
        assert has_collapsed(np.array(scores)) == collapsed

    @pytest.mark.parametrize(
        "scores, since",
        [
            ([1.0, 0.5], None),
            ([1.0, 0.05], 20),
            ([1.0, 0.05, 0.02], 20),
            ([0.05, 1.0, 0.02, 0.02], 30),
            ([0.05, 0.02], 10),
            ([1.0, 0.05, 0.1], None),
            ([], None),
        ],
    )
    def test_uniform_since(self, scores, since):
        iterations = [10 * (k + 1) for k in range(len(scores))]
        assert uniform_since(iterations, scores) == since
