"""What a run reads before its first step."""

import collections

from wespe_tf.config.loading import load
from wespe_tf.config.schema import TrainConfig
from wespe_tf.images.decoding import Source
from wespe_tf.training.train import Photos


def test_photos_that_fit_into_memory_are_decoded_once(tmp_path, make_folder, monkeypatch):
    """The guide, the histogram match and the crops all look at them."""
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
    assert times == {str(path): 1 for folder in folders for path in folder.iterdir()}
