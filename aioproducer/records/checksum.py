"""CRC-32C, the checksum of a record batch: the C function of the crc32c package.

Importing the package also reads its metadata and defines its command line: a sixth of the import
time of this library. So this module loads only the extension module with the function. If a
future crc32c has another extension module, the package is imported.
"""

from __future__ import annotations

from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Crc32c = Callable[[bytes | bytearray | memoryview], int]

_EXTENSION = "crc32c._crc32c"


def _find() -> Crc32c:
    package = find_spec("crc32c")
    places = None if package is None else package.submodule_search_locations
    # Find the extension in the folder of the package, without running the package's `__init__`.
    spec = None if places is None else PathFinder.find_spec(_EXTENSION, places)
    if spec is not None and spec.loader is not None:
        extension = module_from_spec(spec)
        spec.loader.exec_module(extension)
        if hasattr(extension, "crc32c"):
            direct: Crc32c = extension.crc32c
            return direct
    from crc32c import crc32c as packaged  # noqa: PLC0415 - the slow fallback

    return packaged


crc32c = _find()
"""Return the CRC-32C of bytes as an unsigned 32-bit number."""
