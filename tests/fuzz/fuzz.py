"""Fuzzes every decoder: guided by coverage with atheris, at random without it.

    pip install atheris
    python -m tests.fuzz.fuzz --seconds 600         # in the folder that has `tests` and `aioproducer`
    python -m tests.fuzz.fuzz --seconds 600 --blind # random mutations of the seeds

An input that causes an undocumented error is written to the corpus, where the tests read it, and
ends the run. A run with atheris that finds none adds the smallest inputs that reach new code.
Coverage does not see compiled modules: use a copy of the tree without them.
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
"""The number of bytes before each input that select its decoder."""

LONGEST = 4096
KEPT = 30_000
"""Bytes of new inputs that a run may add to the corpus."""

CHILD = "AIOPRODUCER_FUZZ_CHILD"


def main() -> int:
    """Run the fuzzer with the options of the command line."""
    parser = argparse.ArgumentParser(description="Fuzz every decoder.")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--blind", action="store_true", help="random mutations without coverage")
    parser.add_argument("--seed", type=int, default=None, help="the random seed")
    options = parser.parse_args()
    if options.blind or find_spec("atheris") is None:
        return _fuzz_at_random(options.seconds, options.seed)
    return _follow_coverage(options.seconds, options.seed)


def _fuzz_at_random(seconds: int, seed: int | None) -> int:
    from tests.fuzz.decoders import DECODERS  # noqa: PLC0415 - atheris must be imported first
    from tests.fuzz.mutations import mutate  # noqa: PLC0415
    from tests.fuzz.seeds import seeds_of  # noqa: PLC0415

    seed = time.time_ns() % 2**32 if seed is None else seed
    rng = random.Random(seed)  # noqa: S311 - must be reproducible
    ends = time.monotonic() + seconds
    runs = accepted = 0
    while time.monotonic() < ends:
        decoder = rng.choice(DECODERS)
        seeds = seeds_of(decoder)
        for _ in range(100):
            data = mutate(rng.choice(seeds), rng, seeds)
            try:
                accepted += decoder.accepts(data)
            except BaseException:
                _keep(decoder, data, "found-")
                raise
        runs += 100
    _print(f"{runs} inputs with the seed {seed}, {accepted} of them accepted; nothing found")
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
            _keep(*_split_input(found.read_bytes()), "found-")
        if code == 0:
            _keep_new_steps([path.read_bytes() for path in grown.iterdir()])
        return code


def _child(arguments: list[str]) -> int:
    command = [sys.executable, "-m", "tests.fuzz.fuzz", *arguments]
    return subprocess.run(command, env={**os.environ, CHILD: "1"}, check=False).returncode  # noqa: S603 - this program


def _fuzz() -> None:
    """Run libFuzzer in the child process; it reads the command line and exits."""
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=["aioproducer"]):
        from tests.fuzz.decoders import DECODERS  # noqa: PLC0415 - instrumented

    def one_input(data: bytes) -> None:
        decoder = DECODERS[int.from_bytes(data[:SELECTOR]) % len(DECODERS)]
        decoder.accepts(data[SELECTOR:])

    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


def _write_seeds(folder: Path) -> None:
    from tests.fuzz.decoders import DECODERS  # noqa: PLC0415 - see above
    from tests.fuzz.seeds import seeds_of  # noqa: PLC0415

    for number, decoder in enumerate(DECODERS):
        for seed in seeds_of(decoder):
            data = number.to_bytes(SELECTOR) + seed
            (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def _keep_new_steps(inputs: list[bytes]) -> None:
    """Keep the smallest inputs that take a new step from one line to another."""
    from tests.fuzz.seeds import all_seeds  # noqa: PLC0415 - see above

    known: set[Step] = set()
    for decoder, seed in all_seeds():
        known |= _steps(decoder, seed)
    room = KEPT
    for data in sorted(inputs, key=len):
        decoder, rest = _split_input(data)
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
        decoder.accepts(data)
    finally:
        sys.settrace(None)
    return steps


def _split_input(data: bytes) -> tuple[Decoder, bytes]:
    from tests.fuzz.decoders import DECODERS  # noqa: PLC0415 - see above

    return DECODERS[int.from_bytes(data[:SELECTOR]) % len(DECODERS)], data[SELECTOR:]


def _keep(decoder: Decoder, data: bytes, prefix: str) -> None:
    path = (
        Path(__file__).parent / "corpus" / decoder.name / f"{prefix}{hashlib.sha256(data).hexdigest()[:12]}"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    _print(f"kept {path}")


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if os.environ.get(CHILD):
        _fuzz()
    else:
        sys.exit(main())
