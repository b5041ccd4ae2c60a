"""The checksum and its import."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import subprocess
import sys
from typing import TYPE_CHECKING

import crc32c as package
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.records import checksum

if TYPE_CHECKING:
    import pytest


def test_check_value_matches_catalogue() -> None:
    assert checksum.crc32c(b"123456789") == 0xE3069283


@given(st.binary(max_size=300))
def test_checksum_matches_crc32c_package(data: bytes) -> None:
    expected = package.crc32c(data)
    assert checksum.crc32c(data) == checksum.crc32c(bytearray(data)) == expected
    assert checksum.crc32c(memoryview(data)) == expected


def test_package_is_the_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Import the package if the extension module has another name."""

    def nothing(*_arguments: object) -> None:
        return None

    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(importlib.machinery.PathFinder, "find_spec", nothing)
        assert checksum._find() is package.crc32c  # noqa: SLF001 - the module calls it at import
    with monkeypatch.context() as without_a_path:
        without_a_path.setattr(checksum, "find_spec", nothing)
        assert checksum._find() is package.crc32c  # noqa: SLF001 - as above
    assert importlib.util.find_spec("crc32c") is not None


def test_import_skips_optional_modules() -> None:
    """Neither the crc32c package, which reads its own metadata, nor the codecs are imported."""
    rare = ["crc32c", "lz4.frame", "zstandard", "cramjam", "aioproducer.testing"]
    code = f"import sys, aioproducer; print([name for name in {rare} if name in sys.modules])"
    done = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
