"""Fixtures shared by all tests."""

import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Under nohup, or in the background of a script, these are ignored, and every program that a test starts would
# inherit that: tests that send them would wait for ever.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real speech and noise that may lie beside the checkout; the test is skipped without it."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no shared data beside the checkout")
    return folder
