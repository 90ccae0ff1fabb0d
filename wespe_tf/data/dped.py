"""The folders of the DPED data set, in its authors' layout."""

import os
from pathlib import Path

from ..errors import UserError
from .folders import DataFolders

PHONES = ("iphone", "blackberry", "sony")


def dped_folders(dped_dir: str | os.PathLike, phone: str) -> DataFolders:
    """Folders of one phone's training and test patches.

    Args:
        dped_dir: the folder that holds `iphone/`, `blackberry/`, `sony/`.
        phone: one of these names, or the name of another folder there.

    Returns:
        `DataFolders`. The validation pairs are those in `test_data/patches`, or None without it.

    Raises:
        UserError: if the phone is unknown, or has no training folder.
    """
    if dped_dir == "":
        raise UserError("dped_dir=: expected a folder")
    root = Path(dped_dir) / phone
    if phone not in PHONES and (Path(phone).name != phone or not root.is_dir()):
        known = ", ".join(PHONES)
        raise UserError(f"model={phone}: expected one of {known}, or a folder in {dped_dir}")
    training, patches = root / "training_data", root / "test_data" / "patches"
    if not training.is_dir():
        raise UserError(f"dped_dir={dped_dir}: no folder {training}")
    has_test = patches.is_dir()
    return DataFolders(
        source=training / phone,
        target=training / "canon",
        val_source=patches / phone if has_test else None,
        val_target=patches / "canon" if has_test else None,
    )
