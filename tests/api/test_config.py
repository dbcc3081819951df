"""Settings: where they come from, what is refused, and that every number has a range."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from relay.config import RANGES, Config, ConfigError, default_workers, load

SECRET = "s" * 32


def test_every_number_has_a_range_and_a_valid_default() -> None:
    config = Config(secret=SECRET)
    numbers = {
        field.name
        for field in msgspec.structs.fields(Config)
        if isinstance(getattr(config, field.name), int | float) and not isinstance(getattr(config, field.name), bool)
    }
    assert numbers == set(RANGES)


def test_order_of_sources(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(f'secret = "{SECRET}"\nport = 1\nring_s = 30\nworkers = 0\nvideo_codecs = ["VP8"]\n')
    environment = {
        "RELAY_PORT": "2",
        "RELAY_RING_S": "40.5",
        "RELAY_ANNOUNCE_ADDRESSES": "192.0.2.1, 2001:db8::1",
        "RELAY_AUDIO_CODECS": '["opus"]',
        "PATH": "ignored",
    }
    config = load(file, environment, {"port": 3, "host": None})
    assert (config.port, config.ring_s, config.workers, config.host) == (3, 40.5, 0, "127.0.0.1")
    assert config.announce_addresses == ("192.0.2.1", "2001:db8::1")
    assert config.video_codecs == ("VP8",)
    assert config.audio_codecs == ("opus",)
    assert load(None, {"RELAY_DEMO": "true"}).demo is True


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"secret": ""}, "secret"),
        ({"secret": "short"}, "32 bytes"),
        ({"port": 65_536}, "port"),
        ({"ring_s": 4}, "ring_s"),
        ({"ring_s": float("nan")}, "ring_s"),
        ({"max_calls": 0}, "max_calls"),
        ({"media_host": "localhost"}, "IP address"),
        ({"announce_addresses": ("example.org",)}, "IP address"),
        ({"video_codecs": ("H263",)}, "video_codecs"),
        ({"audio_codecs": ("opus", "opus")}, "audio_codecs"),
        ({"audio_codecs": (), "video_codecs": ()}, "codec"),
        ({"heartbeat_lost_s": 5.0}, "heartbeat_lost_s"),
        ({"media_port": 65_530, "workers": 32}, "media_port"),
        ({"event_sockets_max": 50_000}, "event_sockets_max"),
    ],
)
def test_refused_settings(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        Config(**{"secret": SECRET, **settings})


@pytest.mark.parametrize(
    ("text", "environment", "word"),
    [
        ("port = ", {}, "relay.toml"),
        ("colour = 1", {}, "colour"),
        ("port = 'eighty'", {}, "port"),
        ("", {"RELAY_COLOUR": "1"}, "colour"),
        ("", {"RELAY_PUMP": "sponge"}, "pump"),
        ("", {"RELAY_AUDIO_CODECS": "[1"}, "RELAY_AUDIO_CODECS"),
        ("", {"RELAY_SECRET": "short"}, "secret"),
    ],
)
def test_refused_sources(tmp_path: Path, text: str, environment: dict[str, str], word: str) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=word):
        load(file, {"RELAY_SECRET": SECRET, **environment})
    with pytest.raises(ConfigError):
        load(tmp_path / "none.toml", {})


def test_demo_makes_its_own_secret_and_shows_none() -> None:
    first, second = Config(demo=True), Config(demo=True)
    assert first.secret != second.secret
    assert len(first.secret) >= 32
    assert first.secret not in repr(first)
    assert SECRET not in repr(Config(secret=SECRET))


def test_workers_follow_the_machine() -> None:
    assert 1 <= default_workers() <= 8
