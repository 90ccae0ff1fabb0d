"""Settings of `python -m wespe_tf.data`."""

from dataclasses import dataclass

from ..config.schema import setting


@dataclass
class CheckConfig:
    """Settings of `python -m wespe_tf.data check`."""

    dped_dir: str | None = setting(None, "folder of DPED's layout, whether it is complete")
    patch_size: int = setting(100, "smaller photos are too small", "pixels a side", at_least=17)
    output: str = setting("check.html", "page that shows what was found")


@dataclass
class AlignConfig:
    """Settings of `python -m wespe_tf.data align`."""

    phone_dir: str = setting("", "folder of the phone's photos")
    camera_dir: str = setting("", "folder of the camera's photos of the same scenes")
    output: str = setting("", "new folder for the patches, in DPED's layout")
    phone: str = setting("phone", "name of the phone, train.py's model=")
    match: str = setting(
        "auto",
        "how photos find their partners: by equal names, by the time in EXIF, by looks; auto tries "
        "all in this order",
        choices=("auto", "names", "time", "looks"),
    )
    time_tolerance: float = setting(
        3.0,
        "what a pair's times may differ by, beyond what the clocks differ by",
        "seconds",
        at_least=0,
    )
    min_matches: int = setting(
        20, "points that must agree before two photos count as the same scene", at_least=5
    )
    patch_size: int = setting(100, "side of the patches", "pixels of the phone", at_least=17)
    stride: int = setting(100, "from one patch to the next", "pixels of the phone", at_least=1)
    search: int = setting(
        8, "how far around its expected place a patch is looked for", "pixels", at_least=1
    )
    threshold: float = setting(
        0.9, "least correlation of the patches that are kept", at_least=-1, at_most=1
    )
    test_share: float = setting(
        0.1, "share of the scenes that are kept for testing", at_least=0, below=1
    )
    format: str = setting(
        "png", "of the patches; the authors' own code takes jpg alone", choices=("png", "jpg")
    )
