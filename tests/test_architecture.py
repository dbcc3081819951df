"""Cheap tests that keep the picture of README.md true. Each ban says in its failure why it is there."""

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

PACKAGES = ("relay", "native", "benchmarks")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
PROTOCOL = sorted((ROOT / "relay" / "protocol").glob("*.py"))
PURE = [*PROTOCOL, ROOT / "relay" / "calls" / "call.py"]
CORE = sorted(path for path in (ROOT / "native" / "core").iterdir() if path.suffix in (".c", ".h"))
EXTENSIONS = PROJECT["tool"]["setuptools"]["ext-modules"]

IMPURE = {
    "asyncio", "concurrent", "http", "multiprocessing", "os", "random", "secrets", "select", "selectors", "signal",
    "socket", "subprocess", "threading", "time", "urllib", "uuid", "uvloop", "aiohttp",
}  # fmt: skip
DRAWERS = {"util", "utils", "helper", "helpers", "common", "misc", "base", "manager", "managers", "tools", "lib"}

# Who may import whom; a package that is not a key may import nothing of ours.
ALLOWED = {
    "relay.protocol": {"relay.protocol"},
    "relay.media": {"relay.media", "relay.protocol", "relay.config", "relay.logs", "native"},
    "relay.calls": {"relay.calls", "relay.media.messages", "relay.config", "relay.errors", "relay.store"},
    "relay.api": {"relay.api", "relay.calls", "relay.media.messages", "relay.config", "relay.errors", "relay.store"},
    "relay.store": {"relay.store", "relay.config", "relay.errors"},
    "relay.client": {"relay.client", "relay.protocol", "relay.logs"},
    "native": {"native"},
}  # fmt: skip


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, anywhere in it, and the line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{name(path)}:{node.lineno}: relative imports hide where a name comes from"
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


@pytest.mark.parametrize("path", PURE, ids=name)
def test_protocol_and_the_call_table_are_sans_io(path: Path) -> None:
    for module, line in imports(path):
        assert module.split(".")[0] not in IMPURE, (
            f"{name(path)}:{line} imports {module}: time, randomness and bytes are arguments here, "
            "so that tests run hours of calls in milliseconds"
        )


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_point_one_way(path: Path) -> None:
    own = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package, allowed in ALLOWED.items():
        if not within(own, package):
            continue
        for module, line in imports(path):
            if module.split(".")[0] not in PACKAGES or module == "relay":
                continue
            if module in ("relay.protocol", "relay.config", "relay.logs", "relay.errors", "relay.calls", "native"):
                continue  # `from package import name`: the name comes as a module of its own
            assert any(within(module, other) for other in allowed), (
                f"{name(path)}:{line}: {package} may not import {module} (design: api > calls > media messages; "
                "media > protocol, native; node imports everything)"
            )


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_every_module_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    if path.name == "__init__.py" and not text.strip():
        return
    words = ast.get_docstring(ast.parse(text))
    assert words, f"{name(path)} has no docstring: its first line tells a newcomer whether to read on"
    assert len(words.splitlines()[0]) <= 120


@pytest.mark.parametrize("path", [path for path in PROTOCOL if path.name != "__init__.py"], ids=name)
def test_wire_modules_name_their_rfc(path: Path) -> None:
    assert re.search(r"RFC \d{4}", path.read_text()), f"{name(path)} cites no RFC: nobody can check it against one"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_module_is_a_drawer(path: Path) -> None:
    for part in path.relative_to(ROOT).with_suffix("").parts:
        assert part.lower().strip("_") not in DRAWERS, f"{name(path)}: name it for the noun it serves"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_module_grows_without_end(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= 800, f"{name(path)} has {lines} lines; split it by noun"


@pytest.mark.parametrize("path", CORE, ids=name)
def test_the_core_is_plain_c(path: Path) -> None:
    text = path.read_text()
    assert "Python.h" not in text, f"{name(path)}: the core is tested and fuzzed without Python"
    assert text.lstrip().startswith("/*"), f"{name(path)}: the first comment says what the file is"


def test_every_file_of_the_core_is_in_pyproject() -> None:
    listed = {file for extension in EXTENSIONS for key in ("sources", "depends") for file in extension.get(key, [])}
    missing = {name(path) for path in CORE} - listed
    assert not missing, f"{sorted(missing)}: a header that is not in `depends` is missing from the source archive"
    gone = {file for file in listed if not (ROOT / file).exists()}
    assert not gone, f"pyproject.toml lists files that do not exist: {sorted(gone)}"


def test_every_c_file_belongs_to_one_extension() -> None:
    uses = Counter(source for extension in EXTENSIONS for source in extension["sources"] if source.endswith(".c"))
    twice = [source for source, count in uses.items() if count > 1]
    assert not twice, f"{twice}: two extensions would share one object file; share a header of inline functions"


def test_no_handwritten_c_lies_where_cython_writes() -> None:
    generated = {
        path.with_suffix(".c") for package in ("native", "benchmarks") for path in (ROOT / package).glob("*.pyx")
    }
    for package in ("native", "benchmarks"):
        for path in (ROOT / package).glob("*.c"):
            assert path in generated, f"{name(path)}: Cython would overwrite it; hand-written C lives in {package}/core"


def test_the_top_level_is_what_the_design_says() -> None:
    wanted = {
        "pyproject.toml", "README.md", "Makefile", "LICENSE", "CHANGELOG.md", "relay", "native", "benchmarks", "tests",
    }  # fmt: skip
    built = {"build"}
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")} - built
    found = {entry for entry in found if not entry.endswith(".egg-info")}
    assert wanted <= found
    assert found <= wanted, f"{sorted(found - wanted)}: what is this, and where does it belong?"


def test_the_readme_maps_existing_files() -> None:
    text = (ROOT / "README.md").read_text()
    for path in re.findall(r"`((?:relay|native|benchmarks|tests)/[\w./*-]+)`", text):
        assert list(ROOT.glob(path.rstrip("/"))), f"README.md names {path}, which does not exist"


def test_the_version_is_written_the_same_everywhere() -> None:
    import relay

    assert relay.__version__ == PROJECT["project"]["version"]
    assert "## Unreleased" in (ROOT / "CHANGELOG.md").read_text()
