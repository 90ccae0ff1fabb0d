"""The files beside the project that numerical tests compare with; a user's machine has none."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="no ../shared beside the project: reference files are missing"
)
