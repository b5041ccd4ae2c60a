"""Fetches Apache Kafka from Maven Central, one folder for each version.

A broker needs only a class path: no tarball, no container. A version's folder is made under
another name and renamed when it is complete. One test run fetches a version, and the others
wait for its lock:

    ~/.cache/aioproducer-kafka/           or AIOPRODUCER_KAFKA_CACHE
        4.3.0.lock
        4.3.0/
            libs/*.jar
            logging.properties
            broker-….jsa                  an archive of loaded classes; halves the start time
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

NEWEST = "4.3.1"

_OLDEST = (2, 1)
_SCALA_2_13 = (2, 4)
_KRAFT = (3, 3)
_LOG4J_2 = (4, 0)

_POM = """\
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>aioproducer.tests</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    {first}<dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_{scala}</artifactId><version>{version}</version>
      <exclusions>{exclusions}</exclusions>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{version}</version>
      <exclusions>{exclusions}</exclusions>
    </dependency>
    <dependency>{binding}</dependency>
  </dependencies>
</project>
"""
_EXCLUSION = "<exclusion><groupId>{}</groupId><artifactId>{}</artifactId></exclusion>"
_EXCLUDED = (
    ("log4j", "log4j"),
    ("org.slf4j", "slf4j-log4j12"),
    ("org.apache.kafka", "connect-runtime"),
)

# The ZooKeeper of Kafka before 2.4 cannot connect on Java 14 and newer.
_NEWER_ZOOKEEPER = """\
<dependency><groupId>org.apache.zookeeper</groupId><artifactId>zookeeper</artifactId><version>3.5.9</version>
      <exclusions>{exclusions}</exclusions></dependency>
    """

_LOG4J_2_BINDING = """
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version>
"""
_LOG4J_2_CONFIGURATION = """\
status=off
appender.err.type=Console
appender.err.name=err
appender.err.target=SYSTEM_ERR
appender.err.layout.type=PatternLayout
appender.err.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=${sys:log.level}
rootLogger.appenderRef.err.ref=err
"""
_RELOAD4J_BINDING = """
      <groupId>org.slf4j</groupId><artifactId>slf4j-reload4j</artifactId><version>1.7.36</version>
"""
_RELOAD4J_CONFIGURATION = """\
log4j.rootLogger=${log.level}, err
log4j.appender.err=org.apache.log4j.ConsoleAppender
log4j.appender.err.Target=System.err
log4j.appender.err.layout=org.apache.log4j.PatternLayout
log4j.appender.err.layout.ConversionPattern=[%d] %p %m (%c)%n
"""


class KafkaMissingError(Exception):
    """Kafka, or a part of it, is not available here; the message says what and why."""


@dataclass(frozen=True)
class Libraries:
    """One version of Kafka on this machine, and the Java to run it."""

    version: str
    folder: Path
    java: Path

    @classmethod
    def fetch(cls, version: str) -> Self:
        """Return `version` from the cache or from Maven; raises KafkaMissingError without Java or Maven."""
        if parse_version(version) < _OLDEST:
            message = f"these tests run Kafka 2.1 and newer, not {version}"
            raise KafkaMissingError(message)
        java = shutil.which("java")
        if java is None:
            message = "no java on the path to run Apache Kafka"
            raise KafkaMissingError(message)
        folder = cache_folder() / version
        with locked(folder.with_name(f"{version}.lock")):
            if not folder.is_dir():
                _fetch_into(folder, version)
        return cls(version, folder, Path(java))

    @property
    def needs_zookeeper(self) -> bool:
        """Whether brokers of this version need a ZooKeeper, whose jar they include."""
        return parse_version(self.version) < _KRAFT

    @cached_property
    def class_path(self) -> str:
        # Sorted: the archive of classes is valid for one order only, and a glob has none.
        return os.pathsep.join(str(jar) for jar in sorted(self.folder.glob("libs/*.jar")))

    @property
    def logging_options(self) -> list[str]:
        configuration = self.folder / "logging.properties"
        if parse_version(self.version) >= _LOG4J_2:
            return [f"-Dlog4j2.configurationFile={configuration}", "-Dlog4j2.disableJmx=true"]
        return [f"-Dlog4j.configuration=file:{configuration}"]

    @cached_property
    def archive(self) -> Path:
        """The path of the archive of classes; each Java needs its own."""
        java = self.java.resolve()
        identity = hashlib.sha256(f"{java} {java.stat().st_mtime_ns}".encode()).hexdigest()
        return self.folder / f"broker-{identity[:12]}.jsa"


def parse_version(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


def cache_folder() -> Path:
    """Return the folder for fetched programs."""
    chosen = os.environ.get("AIOPRODUCER_KAFKA_CACHE")
    cache = Path(chosen) if chosen else Path.home() / ".cache" / "aioproducer-kafka"
    cache.mkdir(parents=True, exist_ok=True)
    return cache.resolve()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock between test runs."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch_into(folder: Path, version: str) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        message = f"no mvn on the path to fetch Apache Kafka {version}"
        raise KafkaMissingError(message)
    modern = parse_version(version) >= _LOG4J_2
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{version}-") as temporary:
        made = Path(temporary, "whole")
        made.mkdir()
        exclusions = "".join(_EXCLUSION.format(*excluded) for excluded in _EXCLUDED)
        has_scala_2_13 = parse_version(version) >= _SCALA_2_13
        pom = _POM.format(
            version=version,
            scala="2.13" if has_scala_2_13 else "2.12",
            first="" if has_scala_2_13 else _NEWER_ZOOKEEPER.format(exclusions=exclusions),
            exclusions=exclusions,
            binding=_LOG4J_2_BINDING if modern else _RELOAD4J_BINDING,
        )
        Path(made, "pom.xml").write_text(pom)
        logging = _LOG4J_2_CONFIGURATION if modern else _RELOAD4J_CONFIGURATION
        Path(made, "logging.properties").write_text(logging)
        copy = "dependency:copy-dependencies"
        command = [maven, "-q", "-B", copy, "-DoutputDirectory=libs", "-DincludeScope=runtime"]
        fetched = subprocess.run(  # noqa: S603 - a fixed command
            command, cwd=made, check=False, capture_output=True, text=True, timeout=600
        )
        if fetched.returncode:
            message = f"mvn could not fetch Apache Kafka {version}: {fetched.stdout.strip()[-1000:]}"
            raise KafkaMissingError(message)
        made.rename(folder)
