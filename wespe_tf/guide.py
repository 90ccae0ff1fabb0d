"""The guide: a closed-form guess at a photo's enhanced version."""

from .spectrum import NoiseFilter
from .transfer import ColorTransfer


class Guide:
    """A `ColorTransfer` and the `NoiseFilter` after it. An extra beyond the paper.

    Args:
        transfer: `ColorTransfer` between the domains.
        noise_filter: `NoiseFilter` between the transferred source and the target.
    """

    def __init__(self, transfer, noise_filter):
        self.transfer = transfer
        self.noise_filter = noise_filter

    @classmethod
    def fit(cls, source_paths, target_paths):
        """The guide between two sets of picture files that need not be pairs."""
        transfer = ColorTransfer.fit(source_paths, target_paths)
        return cls(transfer, NoiseFilter.fit(source_paths, target_paths, transfer))

    def curve(self, histogram):
        """The luminance curve of a photo, as of `ColorTransfer.curve`."""
        return self.transfer.curve(histogram)

    def __call__(self, picture, curve):
        """The guess for a photo or a part of it.

        Args:
            picture: (H, W, 3) uint8 array.
            curve: (256,) array, the whole photo's `curve`.

        Returns:
            float32 array in about [0, 1] of the same shape.
        """
        return self.noise_filter(self.transfer(picture, curve))
