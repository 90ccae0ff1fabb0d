"""Folders of the DPED data set."""

import pytest

from wespe_tf.data.dped import PHONES, dped_folders
from wespe_tf.errors import UserError


@pytest.fixture
def dped(tmp_path):
    """The authors' layout, empty."""
    for phone in PHONES:
        for part in ("training_data", "test_data/patches"):
            for side in (phone, "canon"):
                (tmp_path / phone / part / side).mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("phone", ["iphone", "blackberry", "sony"])
def test_training_and_test_patches(dped, phone):
    folders = dped_folders(str(dped), phone)
    assert folders.source == dped / phone / "training_data" / phone
    assert folders.target == dped / phone / "training_data" / "canon"
    assert folders.val_source == dped / phone / "test_data" / "patches" / phone
    assert folders.val_target == dped / phone / "test_data" / "patches" / "canon"
    assert all(p.is_dir() for p in (folders.source, folders.target, folders.val_source))


def test_without_test_patches_there_is_no_validation(dped):
    for side in ("iphone", "canon"):
        (dped / "iphone" / "test_data" / "patches" / side).rmdir()
    (dped / "iphone" / "test_data" / "patches").rmdir()
    folders = dped_folders(dped, "iphone")
    assert (folders.val_source, folders.val_target) == (None, None)


def test_unknown_phone_lists_the_phones(dped):
    with pytest.raises(UserError, match="model=nokia: expected one of iphone, blackberry, sony"):
        dped_folders(dped, "nokia")


def test_missing_folder_names_the_setting(tmp_path):
    with pytest.raises(UserError, match="dped_dir=.*: no folder .*iphone/training_data"):
        dped_folders(tmp_path, "iphone")
