"""What a run reads before its first step."""

import collections

import pytest

from wespe_tf.config.loading import load
from wespe_tf.config.schema import TrainConfig
from wespe_tf.data.patches import CACHE_BYTES
from wespe_tf.images.decoding import Source
from wespe_tf.training import train
from wespe_tf.training.train import Photos


@pytest.mark.parametrize("memory, most", [(CACHE_BYTES, 1), (1, 2)])
def test_photos_are_decoded_once_or_without_memory_twice(
    tmp_path, make_folder, monkeypatch, memory, most
):
    """The guide, the histogram match and the crops all look at them."""
    monkeypatch.setattr(train, "CACHE_BYTES", memory)
    folders = [make_folder(tmp_path / side, 4, seed=k) for k, side in enumerate(("phone", "good"))]
    config = load(
        TrainConfig,
        [*(f"{key}={f}" for key, f in zip(("source_dir", "target_dir"), folders)), "patch_size=32"],
    )
    decoded, times = Source.decoded, collections.Counter()

    def counted(source):
        times[str(source.path)] += 1
        return decoded(source)

    monkeypatch.setattr(Source, "decoded", counted)
    photos = Photos.of(config)
    assert photos.guide is not None and photos.guide.detail_filter is not None
    assert set(times) == {str(path) for folder in folders for path in folder.iterdir()}
    assert max(times.values()) == most


@pytest.mark.parametrize("weight, has_context", [(1, True), (0, False)])
def test_crops_are_enhanced_with_context_if_training_has_it(
    tmp_path, make_folder, weight, has_context
):
    """Without a guide, batches have none (`training_data`)."""
    folders = [make_folder(tmp_path / side, 4, seed=k) for k, side in enumerate(("phone", "good"))]
    own = [f"{key}={f}" for key, f in zip(("source_dir", "target_dir"), folders)]
    photos = Photos.of(load(TrainConfig, [*own, "patch_size=32", f"w_guide={weight}"]))
    assert (photos.guide is not None) == (photos.validation.context is not None) == has_context
