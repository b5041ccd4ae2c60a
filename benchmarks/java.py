"""Java's producer for comparison: Kafka's ProducerPerformance, from a directory of Kafka's jars.

A JVM needs seconds of CPU before it is warm, which is no cost of a record. So the tool runs twice:
with as many records as the other clients, and with five times as many. The CPU of a record is
taken from the difference. Records per second are those that the tool reports for the longer run,
slow start included. It sends no keys and no headers.
"""

from __future__ import annotations

import random
import re
import resource
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

from worker import DISTINCT_DOCUMENTS, document

TOOL: Final = "org.apache.kafka.tools.ProducerPerformance"
SUMMARY: Final = re.compile(r"(\d+) records sent, ([\d.]+) records/sec")


def properties(settings: dict[str, Any]) -> list[str]:
    """Return the settings with Java's names."""
    return [
        f"bootstrap.servers={settings['bootstrap']}",
        f"linger.ms={settings.get('linger_ms', 5)}",
        f"batch.size={settings.get('batch_bytes', 16_384)}",
        f"compression.type={settings.get('compression', 'none')}",
        "acks=all",
        "enable.idempotence=true",
    ]


def payload(job: dict[str, Any], directory: str) -> list[str]:
    """Return the tool's options for the records' values."""
    size = job.get("value_bytes", 100)
    if job.get("value") != "json":
        return ["--record-size", str(size)]
    rng = random.Random(1)  # noqa: S311 - must be reproducible
    path = Path(directory) / "values"
    path.write_bytes(b"\n".join(document(rng, size) for _ in range(DISTINCT_DOCUMENTS)))
    return ["--payload-file", str(path)]


def run_tool(libs: str, job: dict[str, Any], records: int, timeout: float) -> tuple[float, float]:
    """Send `records`; return CPU seconds and records per second."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as directory:
        command = ["java", "-Xmx512m", "-cp", f"{libs}/*", TOOL, "--topic", job["topic"]]
        command += ["--num-records", str(records), "--throughput", "-1", *payload(job, directory)]
        command += ["--producer-props", *properties(job["settings"])]
        done = subprocess.run(  # noqa: S603 - Kafka's tool from the caller's directory
            command, capture_output=True, text=True, timeout=timeout, check=True
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    reported = SUMMARY.findall(done.stdout)
    if not reported or int(reported[-1][0]) != records:
        message = f"ProducerPerformance did not report {records} records"
        raise ValueError(message)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, float(reported[-1][1])


def measure(libs: str, job: dict[str, Any], timeout: float) -> dict[str, Any]:
    """Measure as `worker.py` does; the outcome has `error` if the tool failed."""
    fewer = job["records"]
    records = 5 * fewer
    try:
        cpu_of_fewer, _ = run_tool(libs, job, fewer, timeout)
        cpu, rate = run_tool(libs, job, records, timeout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return {"error": str(error)}
    return {
        "records": records,
        "sent": records + fewer,
        "failed": 0,
        "seconds": records / rate,
        "cpu_seconds": cpu - cpu_of_fewer,
        "us_per_record": (cpu - cpu_of_fewer) / (records - fewer) * 1e6,
        "records_per_second": rate,
    }
