"""Strength, tone and detail of an enhancement."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from wespe_tf.enhance import blend as module
from wespe_tf.enhance.blend import BLUR, blend


@pytest.fixture(params=[np.uint8, np.uint16])
def pair(make_photo, request):
    photo, other = (make_photo(70, 50, seed).astype(request.param) for seed in (1, 2))
    factor = 1 if request.param == np.uint8 else 257
    return photo * factor, (photo // 2 + other // 2) * factor


def blended(photo, enhanced, **options):
    result = enhanced.copy()
    blend(photo, result, **options)
    return result


def test_all_of_it_is_the_enhanced_photo(pair):
    np.testing.assert_array_equal(blended(*pair), pair[1])


@pytest.mark.parametrize("options", [{"tone": 0, "detail": 0}, {"strength": 0}])
def test_nothing_of_it_is_the_photo(pair, options):
    np.testing.assert_array_equal(blended(*pair, **options), pair[0])


@pytest.mark.parametrize("band", [7, 30, 256])
@pytest.mark.parametrize("tone, detail", [(0, 1), (1, 0), (2, 0.5)])
def test_parts_are_blurred_and_the_rest(pair, tone, detail, band, monkeypatch):
    monkeypatch.setattr(module, "BAND", band)
    photo, enhanced = (array.astype(np.float64) for array in pair)
    change = enhanced - photo
    blurred = np.stack([gaussian_filter(change[..., k], BLUR) for k in range(3)], axis=-1)
    expected = photo + 0.8 * (tone * blurred + detail * (change - blurred))
    largest = np.iinfo(pair[0].dtype).max
    found = blended(*pair, strength=0.8, tone=tone, detail=detail)
    assert np.abs(found - np.clip(expected, 0, largest)).max() <= 0.5 + 1e-4 * largest
