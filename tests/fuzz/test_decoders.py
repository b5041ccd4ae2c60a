"""Foreign bytes, valid or not, are decoded or refused, in time and within memory limits.

No decoder is compiled, so one build is enough.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.confined import STATUS
from tests.fuzz.decoders import DECODERS, FAMILIES
from tests.fuzz.mutations import lies_about_length, mutate
from tests.fuzz.seeds import CORPUS, all_seeds, corpus_of, dense, hostile, seeds_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from tests.fuzz.decoders import Decoder

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent

KEPT = 100_000
"""The size limit of the corpus, in bytes."""

BASE = 300_000
"""Memory that any input may take, in bytes: the text of an error, a growing table of ids."""

FACTOR = 60
"""Memory per byte of input: dense structs need an object for two or three bytes."""

PLAIN_FACTOR = 2
"""Copies of decompressed data that may exist at the same time."""


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.name)
def test_valid_bytes_decode(decoder: Decoder) -> None:
    """Mutations of invalid seeds would prove nothing."""
    seeds = seeds_of(decoder)
    assert sum(map(decoder.accepts, seeds)) >= (1 if corpus_of(decoder) else len(seeds))


def test_recorded_responses_decode() -> None:
    answers = list(CORPUS.glob("*Response-*/kafka-*"))
    assert len(answers) > 60
    decoders = {decoder.name: decoder for decoder in DECODERS}
    for path in answers:
        assert decoders[path.parent.name].accepts(path.read_bytes()), path


def test_corpus_is_small_and_read() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < KEPT
    assert {path.parent.name for path in files} <= {decoder.name for decoder in DECODERS}


@pytest.mark.parametrize("family", FAMILIES)
def test_corpus_bytes_decode_or_fail(family: str) -> None:
    """Bytes that fuzzing found still decode, or fail with the expected error."""
    for decoder in FAMILIES[family]:
        for data in corpus_of(decoder):
            decoder.accepts(data)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_mutated_bytes_decode_or_fail(family: str, data: st.DataObject) -> None:
    decoder = data.draw(st.sampled_from(FAMILIES[family]), "decoder")
    seeds = seeds_of(decoder)
    seed = data.draw(st.sampled_from(seeds), "seed")
    random: Random = data.draw(st.randoms(use_true_random=False), "random")
    decoder.accepts(mutate(seed, random, seeds))


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_bytes_decode_or_fail(family: str, data: st.DataObject) -> None:
    decoder = data.draw(st.sampled_from(FAMILIES[family]), "decoder")
    decoder.accepts(data.draw(st.binary(max_size=300), "bytes"))


@pytest.mark.parametrize("family", FAMILIES)
def test_long_nonsense_is_refused_quickly(family: str) -> None:
    """Quadratic code hangs here: 100 kB are ten billion steps."""
    for decoder in FAMILIES[family]:
        seed = max(seeds_of(decoder), key=len)
        for data in (*hostile(), seed * (100_000 // len(seed)), seed + bytes(100_000)):
            decoder.accepts(data)


@pytest.mark.parametrize("family", FAMILIES)
def test_false_length_allocates_nothing(family: str) -> None:
    """A decoder allocates no memory for bytes that were not received."""
    for decoder in FAMILIES[family]:
        for data in (*lies_about_length(seeds_of(decoder)), *hostile()):
            allowed = BASE + FACTOR * len(data) + PLAIN_FACTOR * decoder.plain_limit
            assert _peak(decoder, data) <= allowed, (decoder.name, data[:100].hex())


@pytest.mark.parametrize("name", dense())
def test_dense_structs_stay_in_bounds(name: str) -> None:
    [decoder] = [decoder for decoder in DECODERS if decoder.name == name]
    data = dense()[name]
    assert decoder.accepts(data)
    assert _peak(decoder, data) < FACTOR * len(data), len(data)


@pytest.mark.skipif(not STATUS.exists(), reason="this system does not show the size of a process")
def test_libraries_allocate_nothing() -> None:
    """Tracemalloc does not see memory of C and Rust, so the limit is on a whole process."""
    subprocess.run([sys.executable, "-m", "tests.fuzz.confined"], cwd=ROOT, check=True, timeout=300)


def _peak(decoder: Decoder, data: bytes) -> int:
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    decoder.accepts(data)
    return tracemalloc.get_traced_memory()[1] - before


@pytest.fixture(autouse=True)
def _traced(request: pytest.FixtureRequest) -> Iterator[None]:
    if not request.node.name.startswith(("test_false_length", "test_dense_structs")):
        yield
        return
    gc.collect()
    tracemalloc.start()
    yield
    tracemalloc.stop()


def test_every_seed_has_a_decoder() -> None:
    assert {decoder.name for decoder, _ in all_seeds()} == {decoder.name for decoder in DECODERS}
