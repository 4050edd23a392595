"""The folder DMM_TEST_DATA with real files. Without it, tests of them are skipped."""

import os

import pytest

needs_files = pytest.mark.skipif(
    "DMM_TEST_DATA" not in os.environ, reason="DMM_TEST_DATA names no folder of real files"
)
