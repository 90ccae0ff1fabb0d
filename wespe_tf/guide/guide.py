"""The guide: a guess of a photo's enhanced version, in closed form, without training."""

import numpy as np

from ..images.picture import read_picture
from .color_transfer import ColorTransfer
from .detail_filter import DetailFilter
from .tone_curve import Paths, Read


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
        source_paths: Paths,
        target_paths: Paths,
        detail_filter: bool = True,
        read: Read = read_picture,
    ) -> "Guide":
        """Fits the guide to two sets of pictures. They need not be pairs.

        Args:
            source_paths: picture files of the source domain, such as the phone's photos.
            target_paths: picture files of the target domain, such as good photos.
            detail_filter: whether fine detail is filtered too.
            read: function that reads a file, see `histogram`.
        """
        transfer = ColorTransfer.fit(source_paths, target_paths, read)
        if not detail_filter:
            return cls(transfer)
        return cls(transfer, DetailFilter.fit(source_paths, target_paths, transfer, read))

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
