"""The generated tables name everything that the code has."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import sys
from typing import TYPE_CHECKING

import pytest

import aioproducer
from aioproducer import Producer, testing
from aioproducer.config import OPTIONS
from aioproducer.testing import FakeCluster
from tests.docs.pages import PAGES, ROOT

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


@pytest.fixture(scope="module")
def generated() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generated", ROOT / "docs" / "generated.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(name: str) -> str:
    return (ROOT / "docs" / "pages" / name).read_text(encoding="utf-8")


def test_every_error_is_listed(generated: ModuleType) -> None:
    errors = {name for name in aioproducer.__all__ if name.endswith("Error")}

    assert errors == set(re.findall(r"(?m)^\| [· ]*`(\w+)`", generated.errors()))


def test_every_option_is_listed(generated: ModuleType) -> None:
    assert re.findall(r"(?m)^\| `(\w+)`", generated.options()) == list(OPTIONS)


@pytest.mark.parametrize("command", ["produce", "perf", "metadata"])
def test_help_of_a_command(generated: ModuleType, command: str) -> None:
    assert f"usage: aioproducer {command}" in generated.command_help(command)


def test_help_of_the_cluster(generated: ModuleType) -> None:
    assert "--topic NAME[:PARTITIONS]" in generated.testing_help()


def test_every_failure_is_on_the_page(generated: ModuleType) -> None:
    """The page shows each message, which MkDocs takes from the fake cluster."""
    text = generated.on_page_markdown(page("security-failures.md"))
    spec = importlib.util.spec_from_file_location("failures", ROOT / "docs" / "failures.py")
    assert spec is not None
    assert spec.loader is not None
    failures = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = failures
    spec.loader.exec_module(failures)

    named = re.findall(r"<!-- generated: failure (\S+) -->", page("security-failures.md"))
    assert sorted(named) == sorted(failures.FAILURES)
    assert len(re.findall(r"(?m)^A\w+Error: ", text)) == len(named)
    # The words by which readers find their failure.
    for words in ("check sasl_username", "it has SCRAM-SHA-256", "speaks TLS", "does not speak TLS",
                  "wants SASL", "does not use SASL", "is not trusted", "is for kafka-1.internal",
                  "has expired", "client's certificate", "may not write to orders"):  # fmt: skip
        assert words in text
    assert "hunter2" not in text


def test_unknown_part_is_refused(generated: ModuleType) -> None:
    with pytest.raises(ValueError, match="no generated part 'poems'"):
        generated.on_page_markdown("<!-- generated: poems -->")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_parts_of_a_page_exist(generated: ModuleType, path: Path) -> None:
    assert "generated:" not in generated.on_page_markdown(path.read_text(encoding="utf-8"))


async def test_every_metric_is_described() -> None:
    """The page lists names by hand, because each needs its meaning."""
    async with FakeCluster(topics={"orders": 1}) as cluster, Producer(cluster.bootstrap) as producer:
        await producer.send("orders", b"tea")
        await asyncio.sleep(0)
        groups = producer.metrics()
    names = set(groups["producer-metrics"])
    for group in (groups["producer-topic-metrics"], groups["producer-node-metrics"]):
        names.update(*group.values())

    assert (
        set(
            re.findall(
                r"`([a-z-]+-(?:rate|total|avg|max|age|bytes|count|flight|threads))`", page("metrics.md")
            )
        )
        == names
    )


def test_every_public_name_is_documented(generated: ModuleType) -> None:
    documented = re.findall(r"(?m)^::: aioproducer\.(\w+)$", generated.on_page_markdown(page("api.md")))

    assert sorted(documented) == sorted(name for name in aioproducer.__all__ if not name.startswith("__"))


def test_every_class_for_tests_is_documented(generated: ModuleType) -> None:
    documented = re.findall(
        r"(?m)^::: aioproducer\.testing\.(\w+)$", generated.on_page_markdown(page("api.md"))
    )
    classes = {name for name in testing.__all__ if isinstance(getattr(testing, name), type)}

    assert sorted(documented) == sorted(classes - {"ApiKey", "ErrorCode"})
