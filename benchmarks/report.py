"""Medians, tables and plots of outcomes."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import statistics
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from case import Case

    Outcome = dict[str, Any]

REFERENCE: Final = "aioproducer"
DISTRIBUTIONS: Final = ("aioproducer", "aiokafka", "confluent-kafka", "uvloop")


def medians(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the median of each number over the successful rounds."""
    good = [outcome for outcome in outcomes if "error" not in outcome]
    if not good:
        return {"error": outcomes[0]["error"] if outcomes else "not run"}
    keys = {key: None for outcome in good for key, number in outcome.items() if not isinstance(number, str)}
    result: Outcome = {
        key: statistics.median(outcome[key] for outcome in good if key in outcome) for key in keys
    }
    failures = [outcome["first_failure"] for outcome in good if "first_failure" in outcome]
    if failures:
        result["first_failure"] = failures[0]
    if len(good) < len(outcomes):
        result["rounds_failed"] = len(outcomes) - len(good)
    return result


def table(case: Case, by_peer: dict[str, Outcome], where: str) -> str:
    """Return the medians as a text table."""
    first = case.columns[0].key
    reference = by_peer.get(REFERENCE, {}).get(first)
    widths = [max(len(column.heading), 10) for column in case.columns]
    heading = "  ".join(
        f"{column.heading:>{width}}" for column, width in zip(case.columns, widths, strict=True)
    )
    lines = [f"{case.name}  {case.title}  ({where})", f"  {'':<17}{heading}  {'ratio':>7}  failed"]
    for peer, outcome in by_peer.items():
        if "error" in outcome:
            lines.append(f"  {peer:<17}{outcome['error'][:90]}")
            continue
        numbers = "  ".join(
            f"{outcome.get(column.key, math.nan):>{width},.{column.digits}f}"
            for column, width in zip(case.columns, widths, strict=True)
        )
        ratio = f"{outcome.get(first, math.nan) / reference:>7.2f}" if reference else f"{'-':>7}"
        lines.append(f"  {peer:<17}{numbers}  {ratio}  {outcome['failed']:>6,.0f}")
        if "first_failure" in outcome:
            lines.append(f"  {'':<17}{outcome['first_failure'][:120]}")
    return "\n".join([*lines, ""])


def environment() -> dict[str, Any]:
    """Return a description of the machine and the versions."""
    versions = {}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "versions": versions,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def plot(results: Sequence[dict[str, Any]], path: str) -> None:
    """Draw a panel of bars for each case (its first column); the file's suffix sets the format."""
    import matplotlib as mpl  # noqa: PLC0415 - needed for plots only

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    columns = min(3, len(results))
    rows = math.ceil(len(results) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(6 * columns, 2.6 * rows), squeeze=False)
    for panel in axes.flat[len(results) :]:
        panel.set_visible(False)
    for panel, result in zip(axes.flat, results, strict=False):
        draw_bars(panel, result)
    figure.tight_layout()
    figure.savefig(path)


def draw_bars(panel: Any, result: dict[str, Any]) -> None:  # noqa: ANN401 - matplotlib's Axes
    """Draw one case: a bar per client, this package in another colour."""
    column = result["case"]["columns"][0]
    shown = {peer: of[column["key"]] for peer, of in result["median"].items() if column["key"] in of}
    names = list(shown)[::-1]
    colours = ["#d1495b" if name.startswith(REFERENCE) else "#8d99ae" for name in names]
    bars = panel.barh(names, [shown[name] for name in names], color=colours)
    panel.bar_label(bars, labels=[f"{shown[name]:,.{column['digits']}f}" for name in names], padding=3)
    panel.set_title(f"{result['case']['name']}  {result['case']['title']}", fontsize=9, loc="left")
    better = "more is better" if result["case"]["more_is_better"] else "less is better"
    panel.set_xlabel(f"{column['heading']} ({better}; {result['target']})", fontsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    panel.margins(x=0.2)
