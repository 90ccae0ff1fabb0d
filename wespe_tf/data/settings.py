"""Settings of `python -m wespe_tf.data`."""

from dataclasses import dataclass

from ..config.schema import LEAST_SIDE
from ..config.setting import setting


@dataclass
class CheckConfig:
    """Settings of `python -m wespe_tf.data check`."""

    dped_dir: str | None = setting(None, "folder in DPED's layout; checks whether it is complete")
    patch_size: int = setting(
        64,
        "photos are too small if a side is shorter; the default is that of preset=recommended",
        "pixels a side",
        at_least=LEAST_SIDE,
    )
    output: str = setting("check.html", "the page that shows what was found")


@dataclass
class AlignConfig:
    """Settings of `python -m wespe_tf.data align`."""

    phone_dir: str = setting("", "folder of the phone's photos")
    camera_dir: str = setting("", "folder of the camera's photos of the same scenes")
    output: str = setting("", "new folder for the patches, in DPED's layout")
    phone: str = setting("phone", "name of the phone; train.py takes it as model=")
    match: str = setting(
        "auto",
        "how photos are paired: by equal names, by the time in EXIF, or by looks; auto tries all, "
        "in this order",
        choices=("auto", "names", "time", "looks"),
    )
    time_tolerance: float = setting(
        3.0,
        "largest difference between the times of a pair, after the clocks are corrected",
        "seconds",
        at_least=0,
    )
    min_matches: int = setting(
        20, "fewest points that must agree if two photos show the same scene", at_least=5
    )
    patch_size: int = setting(
        100, "side of the patches", "pixels of the phone", at_least=LEAST_SIDE
    )
    stride: int = setting(
        100, "distance from one patch to the next", "pixels of the phone", at_least=1
    )
    search: int = setting(
        8,
        "how far around its expected place a patch is looked for; it is refused if it is found "
        "less than a pixel from the end of this area, because it may belong outside",
        "pixels",
        at_least=2,
    )
    threshold: float = setting(
        0.9, "patches with a smaller correlation are refused", at_least=-1, at_most=1
    )
    test_share: float = setting(
        0.1, "share of the scenes that is kept for testing", at_least=0, below=1
    )
    format: str = setting(
        "png",
        "file format of the patches; the authors' own code reads jpg only",
        choices=("png", "jpg"),
    )
