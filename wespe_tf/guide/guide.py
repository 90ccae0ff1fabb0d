"""The guide: a guess of a photo's enhanced version, in closed form, without training."""

from collections.abc import Sequence

import numpy as np

from .color_transfer import ColorTransfer
from .detail_filter import DetailFilter
from .samples import PhotoSample


class Guide:
    """A `ColorTransfer`, followed by a `DetailFilter`. This goes beyond the paper.

    Args:
        transfer: `ColorTransfer` between the domains.
        detail_filter: `DetailFilter` between the transferred source and the target, or None.
    """

    def __init__(self, transfer: ColorTransfer, detail_filter: DetailFilter | None = None) -> None:
        self.transfer = transfer
        self.detail_filter = detail_filter

    @classmethod
    def fit(
        cls,
        source: Sequence[PhotoSample],
        target: Sequence[PhotoSample],
        detail_filter: bool = True,
    ) -> "Guide":
        """Fits the guide to two sets of pictures. They need not be pairs.

        Args:
            source: samples of the source domain's photos, such as a phone's; see `sample_photos`.
            target: samples of the target domain's photos, such as good ones.
            detail_filter: whether fine detail is filtered too. Every photo must have tiles then.
        """
        transfer = ColorTransfer.fit(source, target)
        if not detail_filter:
            return cls(transfer)
        return cls(transfer, DetailFilter.fit(source, target, transfer))

    def curve(self, histogram: np.ndarray) -> np.ndarray:
        """The luminance curve of a photo, see `ColorTransfer.curve`."""
        return self.transfer.curve(histogram)

    def __call__(self, picture: np.ndarray, curve: np.ndarray) -> np.ndarray:
        """The guess for a photo or a part of it.

        Args:
            picture: (H, W, 3) uint8 array.
            curve: (256,) array, the whole photo's `curve`.

        Returns:
            float32 array in about [0, 1] of the same shape.
        """
        transferred = self.transfer(picture, curve)
        return transferred if self.detail_filter is None else self.detail_filter(transferred)
