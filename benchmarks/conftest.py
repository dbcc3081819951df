"""Lets pytest find the micro-benchmarks: `pytest benchmarks` collects every bench_*.py here."""

from pathlib import Path

import pytest


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    if file_path.parent == Path(__file__).parent and file_path.match("bench_*.py"):
        return pytest.Module.from_parent(parent, path=file_path)
    return None
