"""Decodes bytes with false lengths in a process with little memory: `python -m tests.fuzz.confined`.

A C or Rust library that allocates for a false length gets no memory here, and the process fails.
"""

from __future__ import annotations

import resource
from pathlib import Path

from tests.fuzz.decoders import DECODERS
from tests.fuzz.mutations import lies_about_length
from tests.fuzz.seeds import bombs, hostile, seeds_of

STATUS = Path("/proc/self/statm")

MAY_GROW_BY = 48 << 20


def main() -> None:
    """Run all decoders that decompress."""
    decoders = [decoder for decoder in DECODERS if decoder.plain_limit]
    cases = [
        (decoder, data)
        for decoder in decoders
        for data in (*lies_about_length(seeds_of(decoder)), *hostile())
    ]
    cases += [(decoder, bomb) for decoder in decoders for bomb in bombs()]
    for decoder in decoders:
        for seed in seeds_of(decoder):
            decoder.accepts(seed)
    now = int(STATUS.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MAY_GROW_BY, resource.RLIM_INFINITY))
    for decoder, data in cases:
        decoder.accepts(data)


if __name__ == "__main__":
    main()
