"""What the pump does to every header: parse, window, rewrite. The C headers alone, thousands of packets a call."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

CORE = Path(__file__).resolve().parent.parent / "native" / "core"
PACKETS = 10_000

PROBE = """
#include "rtp.h"
#include "window.h"
#include "rewrite.h"

static uint8_t packet[1200] = {0x90, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xbe, 0xde, 0, 2, 0x10, 'v', 0x30, 0x55};

/* Every function keeps a sum, so that no work can be left out. */
uint64_t bench_parse(uint32_t n)
{
    uint64_t sum = 0;
    struct rtp_view view;
    for (uint32_t i = 0; i < n; i++) {
        put16(packet + 2, (uint16_t)i);
        sum += rtp_parse(packet, sizeof packet, &view) ? view.sequence + view.payload : 0;
    }
    return sum;
}

uint64_t bench_window(uint32_t n)
{
    struct window window = {0};
    uint64_t sum = 0, extended = 0;
    window_start(&window, 0);
    for (uint32_t i = 0; i < n; i++) {
        window_update(&window, (uint16_t)i, &extended);
        sum += extended;
    }
    return sum;
}

uint64_t bench_rewrite(uint32_t n)
{
    struct rewrite rewrite = {0};
    struct rtp_view view;
    uint8_t map[256] = {[1] = 4, [3] = 7};
    uint64_t sum = 0;
    rtp_parse(packet, sizeof packet, &view);
    rewrite_join(&rewrite, 65536, 0, 90000, 0, 1);
    for (uint32_t i = 0; i < n; i++) {
        packet[16] = 0x10;
        packet[18] = 0x30;
        sum += rewrite_sequence(&rewrite, 65536 + i, i * 3000, i);
        rewrite_extensions(packet, &view, map);
        sum += packet[16];
    }
    return sum;
}
"""


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    directory = tmp_path_factory.mktemp("probe")
    source, library = directory / "probe.c", directory / "probe.so"
    source.write_text(PROBE)
    flags = ["-std=gnu11", "-O2", "-shared", "-fPIC", f"-I{CORE}"]
    subprocess.run([compiler, *flags, "-o", os.fspath(library), os.fspath(source)], check=True)
    return ctypes.CDLL(os.fspath(library))


@pytest.mark.parametrize("name", ["parse", "window", "rewrite"])
def test_header(benchmark: Any, probe: ctypes.CDLL, name: str) -> None:
    function = getattr(probe, f"bench_{name}")
    function.restype = ctypes.c_uint64
    benchmark.group = f"RTP header, {PACKETS} packets a round"
    benchmark.extra_info["packets"] = PACKETS
    assert benchmark(function, PACKETS) > 0
    if benchmark.enabled:
        benchmark.extra_info["ns_per_packet"] = benchmark.stats.stats.median / PACKETS * 1e9
