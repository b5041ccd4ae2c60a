"""Fuzzes every decoder, led by coverage where atheris is installed and blindly where it is not.

    pip install atheris
    python -m tests.fuzz.fuzz --seconds 600         # in the folder that has `tests` and `aioproducer`
    python -m tests.fuzz.fuzz --seconds 600 --blind # mutations of the seeds by the dice alone

An input that does what no decoder may do is written to the corpus, where the tests read it
again, and ends the run. A run with atheris that finds no such thing adds the smallest inputs
that reach code which no seed reaches. Coverage ends where compiled modules begin: run it on a
copy of the tree without them.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from types import FrameType

    from tests.fuzz.decoders import Decoder

    Step: TypeAlias = tuple[str, str, int, int]

SELECTOR = 2
"""Bytes before each input of the fuzzer that say which decoder gets the rest."""

LONGEST = 4096
KEPT = 30_000
"""Bytes of new inputs that a run may add to the corpus."""

CHILD = "AIOPRODUCER_FUZZ_CHILD"


def main() -> int:
    """Run the fuzzer for as long as the command line says."""
    parser = argparse.ArgumentParser(description="Fuzz every decoder.")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--blind", action="store_true", help="no coverage, only dice")
    parser.add_argument("--seed", type=int, default=None, help="of the dice")
    options = parser.parse_args()
    if options.blind or find_spec("atheris") is None:
        return _roll_dice(options.seconds, options.seed)
    return _follow_coverage(options.seconds, options.seed)


def _roll_dice(seconds: int, seed: int | None) -> int:
    from tests.fuzz.decoders import DECODERS  # noqa: PLC0415 - atheris has to come first, where it is
    from tests.fuzz.mutations import mutate  # noqa: PLC0415
    from tests.fuzz.seeds import seeds_of  # noqa: PLC0415

    seed = time.time_ns() % 2**32 if seed is None else seed
    dice = random.Random(seed)  # noqa: S311 - to be had again is what it has to be
    ends = time.monotonic() + seconds
    runs = understood = 0
    while time.monotonic() < ends:
        decoder = dice.choice(DECODERS)
        seeds = seeds_of(decoder)
        for _ in range(100):
            data = mutate(dice.choice(seeds), dice, seeds)
            try:
                understood += decoder.understands(data)
            except BaseException:
                _keep(decoder, data, "found-")
                raise
        runs += 100
    _say(f"{runs} inputs with the seed {seed}, {understood} of them understood; nothing found")
    return 0


def _follow_coverage(seconds: int, seed: int | None) -> int:
    with tempfile.TemporaryDirectory() as folder:
        known, grown = (Path(folder) / name for name in ("known", "grown"))
        for each in (known, grown):
            each.mkdir()
        _write_seeds(known)
        options = [f"-max_len={LONGEST}", "-timeout=10", "-rss_limit_mb=1024", f"-max_total_time={seconds}"]
        if seed is not None:
            options.append(f"-seed={seed}")
        code = _child([*options, f"-artifact_prefix={folder}/found-", str(grown), str(known)])
        for found in Path(folder).glob("found-*"):
            _keep(*_parted(found.read_bytes()), "found-")
        if code == 0:
            _keep_what_leads_elsewhere([path.read_bytes() for path in grown.iterdir()])
        return code


def _child(arguments: list[str]) -> int:
    command = [sys.executable, "-m", "tests.fuzz.fuzz", *arguments]
    return subprocess.run(command, env={**os.environ, CHILD: "1"}, check=False).returncode  # noqa: S603 - ourselves


def _fuzz() -> None:
    """Be the child, whose command line is libFuzzer's, and which it ends."""
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=["aioproducer"]):
        from tests.fuzz.decoders import DECODERS  # noqa: PLC0415 - instrumented

    def one_input(data: bytes) -> None:
        decoder = DECODERS[int.from_bytes(data[:SELECTOR]) % len(DECODERS)]
        decoder.understands(data[SELECTOR:])

    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


def _write_seeds(folder: Path) -> None:
    from tests.fuzz.decoders import DECODERS  # noqa: PLC0415 - see above
    from tests.fuzz.seeds import seeds_of  # noqa: PLC0415

    for number, decoder in enumerate(DECODERS):
        for seed in seeds_of(decoder):
            data = number.to_bytes(SELECTOR) + seed
            (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def _keep_what_leads_elsewhere(inputs: list[bytes]) -> None:
    """Keep, smallest first, what goes from one line to another as nothing before it did."""
    from tests.fuzz.seeds import all_seeds  # noqa: PLC0415 - see above

    known: set[Step] = set()
    for decoder, seed in all_seeds():
        known |= _steps(decoder, seed)
    room = KEPT
    for data in sorted(inputs, key=len):
        decoder, rest = _parted(data)
        if (steps := _steps(decoder, rest)) - known and len(rest) <= room:
            known |= steps
            room -= len(rest)
            _keep(decoder, rest, "")


def _steps(decoder: Decoder, data: bytes) -> set[Step]:
    steps: set[Step] = set()
    last: dict[int, int] = {}

    def trace(frame: FrameType, event: str, _argument: object) -> Any:  # noqa: ANN401 - the tracer's own
        name = frame.f_code.co_filename
        if "aioproducer" not in name:
            return None
        line = frame.f_lineno
        steps.add((decoder.family, name, last.get(id(frame), 0), line))
        last[id(frame)] = 0 if event == "return" else line
        return trace

    sys.settrace(trace)
    try:
        decoder.understands(data)
    finally:
        sys.settrace(None)
    return steps


def _parted(data: bytes) -> tuple[Decoder, bytes]:
    from tests.fuzz.decoders import DECODERS  # noqa: PLC0415 - see above

    return DECODERS[int.from_bytes(data[:SELECTOR]) % len(DECODERS)], data[SELECTOR:]


def _keep(decoder: Decoder, data: bytes, prefix: str) -> None:
    path = (
        Path(__file__).parent / "corpus" / decoder.name / f"{prefix}{hashlib.sha256(data).hexdigest()[:12]}"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    _say(f"kept {path}")


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if os.environ.get(CHILD):
        _fuzz()
    else:
        sys.exit(main())
