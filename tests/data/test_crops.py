"""Fixed crops of validation pairs."""

import weakref

import numpy as np
import pytest
from PIL import Image

from tests.data.ramps import origin, ramp
from wespe_tf.data import crops
from wespe_tf.data.crops import fixed_crops
from wespe_tf.errors import UserError


class TestFixedCrops:
    @pytest.fixture
    def pairs(self, ramps):
        """Pairs that show the same; the blue channel tells the side."""
        sizes = [(40, 30), (25, 60), (33, 33)]
        one, other = ramps(*sizes, name="one"), ramps(*sizes, name="other")
        return [(str(one / f"{k}.png"), str(other / f"{k}.png")) for k in range(3)]

    def test_crops_of_a_pair_show_the_same_place(self, pairs):
        one, other = fixed_crops(pairs, 30, 20)
        assert one.shape == (30, 20, 20, 3) and one.dtype == np.uint8
        np.testing.assert_array_equal(one, other)
        places = {origin(crop) for crop in one}
        assert {number for number, _, _ in places} == {0, 1, 2}
        assert len(places) > 20
        for crop in one:
            number, row, column = origin(crop)
            with Image.open(pairs[number][0]) as photo:
                expected = np.asarray(photo)[row : row + 20, column : column + 20]
            np.testing.assert_array_equal(crop, expected)

    def test_context_is_of_the_first_pictures_photo(self, pairs):
        one, other, context = fixed_crops(pairs, 30, 20, context=3)
        assert context.shape == (30, 3, 20, 20, 3) and context.dtype == np.uint8
        for plain, side in zip(fixed_crops(pairs, 30, 20), (one, other), strict=True):
            np.testing.assert_array_equal(side, plain)
        for crop, around in zip(one, context):
            number, row, column = origin(crop)
            places = [origin(square) for square in around]
            assert {place[0] for place in places} == {number}
            assert any(place != (number, row, column) for place in places)

    def test_seed_fixes_them(self, pairs):
        first, again = fixed_crops(pairs, 8, 20)[0], fixed_crops(pairs, 8, 20)[0]
        np.testing.assert_array_equal(first, again)
        assert (fixed_crops(pairs, 8, 20, seed=1)[0] != first).any()

    def test_are_as_small_as_the_smallest_picture(self, pairs):
        (crops,) = fixed_crops([pair[:1] for pair in pairs], 30, 100)
        assert crops.shape == (30, 25, 25, 3)

    def test_pictures_of_other_size_are_no_pair(self, pairs):
        Image.fromarray(ramp(40, 31, 0)).save(pairs[0][1])
        with pytest.raises(UserError) as caught:
            fixed_crops(pairs, 30, 20)
        assert str(caught.value) == (
            f"{pairs[0][1]}: 31×40 pixels, but its partner {pairs[0][0]} has 30×40"
        )

    def test_pictures_below_ssims_window_are_refused(self, pairs):
        for path in pairs[1]:
            Image.fromarray(ramp(10, 40, 1)).save(path)
        with pytest.raises(UserError, match="1.png: 40×10 pixels; validation needs 11 a side"):
            fixed_crops(pairs, 30, 20)

    def test_photos_are_held_one_pair_at_a_time(self, pairs, monkeypatch):
        alive, most = weakref.WeakSet(), []
        read = crops.read_picture

        class Photo(np.ndarray):
            """An array that weak sets can hold; its cut-outs keep it alive."""

            __hash__ = object.__hash__

        def counted(path):
            content = read(path)
            photo = Photo(content.shape, np.uint8)
            photo[:] = content
            alive.add(photo)
            most.append(len(alive))
            return photo

        monkeypatch.setattr(crops, "read_picture", counted)
        fixed_crops(pairs, 30, 20)
        assert len(most) == 6
        assert max(most) <= 4
