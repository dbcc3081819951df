"""The `relay` command as a person meets it: help, complaints and exit codes, and what a running node shows."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable

import jwt
import pytest
from running import Node

SECRET = "0123456789abcdef0123456789abcdef"


def relay(*arguments: str, secret: str = SECRET) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
    environment["RELAY_STORE"] = "sqlite://"  # what starts by accident leaves no file behind
    if secret:
        environment["RELAY_SECRET"] = secret
    command = [sys.executable, "-m", "relay", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)


@pytest.mark.parametrize("command", [(), ("serve",), ("device",), ("doctor",), ("token",)])
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    done = relay(*command, "--help")
    assert done.returncode == 0
    assert "usage: relay" in done.stdout
    assert not done.stderr


@pytest.mark.parametrize(
    ("arguments", "secret", "code", "words"),
    [
        ((), SECRET, 2, "COMMAND"),
        (("sing",), SECRET, 2, "invalid choice"),
        (("serve",), "", 2, "RELAY_SECRET"),
        (("serve", "--port", "99999"), SECRET, 2, "port"),
        (("serve", "--workers", "-1"), SECRET, 2, "workers"),
        (("serve", "--announce", "nowhere"), SECRET, 2, "not an IP address"),
        (("serve", "--config", "/nonexistent.toml"), SECRET, 2, "No such file"),
        (("serve", "--host", "192.0.2.1", "--port", "0"), SECRET, 1, "cannot listen"),
        (("token", "--kind", "user", "--id", "a"), "", 2, "RELAY_SECRET"),
        (("token", "--kind", "leg", "--id", "a"), SECRET, 2, "--room"),
        (("token", "--kind", "user", "--id", "a", "--ttl", "-1"), SECRET, 2, "--ttl"),
    ],
)
def test_a_mistake_is_one_clear_line(arguments: tuple[str, ...], secret: str, code: int, words: str) -> None:
    done = relay(*arguments, secret=secret)
    assert done.returncode == code
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_port_in_use_is_named(workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = relay("serve", "--port", str(port), "--workers", workers)
        assert done.returncode == 1
        assert re.search(rf"port {port}: address already in use; choose another", done.stderr)
        assert not done.stdout
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as used:
        used.bind(("0.0.0.0", 0))
        port = used.getsockname()[1]
        done = relay("serve", "--port", "0", "--media-port", str(port), "--workers", workers)
        assert done.returncode == 1
        last = done.stderr.splitlines()[-1]
        assert str(port) in last
        assert "already in use" in last
        assert "Traceback" not in done.stderr


def test_a_token_is_what_the_node_accepts() -> None:
    done = relay("token", "--kind", "device", "--id", "SN-1", "--model-id", "M", "--ttl", "60")
    assert done.returncode == 0
    claims = jwt.decode(done.stdout.strip(), SECRET, algorithms=["HS256"])
    assert (claims["kind"], claims["sub"], claims["sn"], claims["model_id"]) == ("device", "SN-1", "SN-1", "M")
    assert claims["exp"] - claims["iat"] == 60


def test_doctor_finds_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environment = {**os.environ, "RELAY_PORT": str(taken.getsockname()[1]), "RELAY_MEDIA_PORT": "0"}
        command = [sys.executable, "-m", "relay", "doctor"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
        assert done.returncode == 1
        assert re.search(r"^fail +HTTP port", done.stdout, re.MULTILINE)
        assert "-> choose another with --port" in done.stdout


def test_doctor_knows_what_to_say_about_everything() -> None:
    environment = {**os.environ, "RELAY_PORT": "0", "RELAY_MEDIA_PORT": "0"}
    command = [sys.executable, "-m", "relay", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    for number, line in enumerate(lines):
        if line.startswith(("warn", "fail")):
            assert lines[number + 1].lstrip().startswith("->")


def test_the_banner_names_an_address_that_answers(start_node: Callable[..., Node]) -> None:
    node = start_node("--workers", "1")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", node.url)
    status, page = node.get("/")
    assert status == 200
    assert "<html" in page.lower()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_metrics_are_well_formed_and_few(start_node: Callable[..., Node], workers: str) -> None:
    node = start_node("--workers", workers)
    text = node.get("/metrics")[1]
    names = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    helps = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    assert names == set(helps)
    assert all(name.startswith(("relay_", "python_gc_")) for name in names)
    assert not any(words.startswith("A counter of the media worker") for words in helps.values()), (
        "a counter has no help"
    )
    samples = node.metrics()
    for worker in range(max(1, int(workers))):
        assert samples[f'relay_worker_up{{worker="{worker}"}}'] == 1
        assert samples[f'relay_legs{{worker="{worker}"}}'] == 0
        assert samples[f'relay_drops_total{{reason="bad_auth",worker="{worker}"}}'] == 0
    assert samples["relay_calls"] == 0
    assert samples['relay_calls_ended_total{reason="hangup"}'] == 0


def test_logs_of_a_node_are_json_and_hold_no_address(start_node: Callable[..., Node]) -> None:
    node = start_node("--workers", "1")
    node.get("/healthz")
    assert node.end() == 0
    lines = [json.loads(line) for line in node.log().splitlines()]
    assert [line["message"] for line in lines if line["logger"] == "relay.node"] == ["started", "draining", "stopped"]
    assert "127.0.0.1" not in node.log()
