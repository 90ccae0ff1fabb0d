"""The folders that the settings name."""

from pathlib import Path

from ..config.schema import Folders
from ..errors import UserError
from .dped import dped_folders
from .folders import DataFolders
from .sample import build_sample

SAMPLE_DIR = Path("data") / "sample"


def sample_folders() -> DataFolders:
    """The sample's folders in `data/sample`. They are made on first use.

    Raises:
        UserError: if they cannot be made.
    """
    try:
        return build_sample(SAMPLE_DIR)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{SAMPLE_DIR}: the sample cannot be made ({reason})") from error


def data_folders(config: Folders) -> DataFolders:
    """The folders that the settings name. If they name none, these are the sample's.

    Raises:
        UserError: if the settings contradict each other, or the folders are missing.
    """
    own = {key: getattr(config, key) for key in ("source_dir", "target_dir")}
    val = {key: getattr(config, key) for key in ("val_source_dir", "val_target_dir")}
    for key, folder in (own | val).items():
        if folder == "":  # Such as from a shell's variable that is not set. It would be `.`.
            raise UserError(f"{key}=: expected a folder")
    for pair in (own, val):
        missing = [key for key, value in pair.items() if value is None]
        if len(missing) == 1:
            (given,) = set(pair) - set(missing)
            raise UserError(f"{given} needs {missing[0]} too")
    if own["source_dir"] is not None:
        if config.model is not None:
            raise UserError("give either model= (DPED) or source_dir= and target_dir=, not both")
        found = DataFolders(Path(own["source_dir"]), Path(own["target_dir"]))
    elif config.model is not None:
        found = dped_folders(config.dped_dir, config.model)
    else:
        found = sample_folders()
    if val["val_source_dir"] is None:
        return found
    return DataFolders(found.source, found.target, *(Path(folder) for folder in val.values()))
