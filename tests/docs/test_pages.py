"""Every code block of the documentation runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import PAGES, ROOT, Block, blocks_of, run_page

if TYPE_CHECKING:
    from pathlib import Path

BY_PAGE = [pytest.param(page, id=page.stem) for page in PAGES if blocks_of(page)]


@pytest.mark.parametrize("page", BY_PAGE)
def test_blocks_run(page: Path, tmp_path: Path) -> None:
    run_page(blocks_of(page), tmp_path)


@pytest.mark.parametrize("page", BY_PAGE)
def test_every_block_is_found(page: Path) -> None:
    """A fence that the harness does not understand would never run."""
    fences = re.findall(r"(?m)^ *```", page.read_text(encoding="utf-8"))

    assert len(fences) == 2 * len(blocks_of(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_is_in_the_navigation(page: Path) -> None:
    assert f": {page.name}\n" in (ROOT / "docs" / "mkdocs.yml").read_text(encoding="utf-8")


def test_included_examples_exist() -> None:
    """The examples themselves run in test_examples.py."""
    included = {
        name for page in PAGES for name in re.findall(r'--8<-- "([^"]+)"', page.read_text(encoding="utf-8"))
    }

    assert included
    assert all((ROOT / "docs" / name).is_file() for name in included)


def test_failing_block_fails_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nawait producer.send('orders', 1)\n```\n", encoding="utf-8")

    with pytest.raises(TypeError):
        run_page(blocks_of(page), tmp_path)


def test_failing_test_fails_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\ndef test_sum():\n    assert 1 + 1 == 3\n```\n", encoding="utf-8")

    with pytest.raises(AssertionError, match="assert 1 \\+ 1 == 3"):
        run_page(blocks_of(page), tmp_path)


def test_failing_command_fails_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```sh\nfalse\ntrue\n```\n", encoding="utf-8")

    with pytest.raises(AssertionError, match="line 2: exit code 1"):
        run_page(blocks_of(page), tmp_path)


def test_block_with_reason_is_skipped(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- not run: an example -->\n```sh\nexit 1\n```\n", encoding="utf-8")
    (block,) = blocks_of(page)

    run_page([block], tmp_path)

    assert block == Block(page, 3, "sh", None, "exit 1\n", "an example")
