"""Malformed JSON and SDP against a running node with its media workers: a reason and a 4xx, and the node goes on."""

import json
import random
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest
from running import Node

from benchmarks.handshake import Certificate, Offer


def post(node: Node, path: str, body: bytes, content_type: str, token: str = "") -> tuple[int, dict[str, object]]:
    headers = {"Content-Type": content_type} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(urllib.request.Request(node.url + path, body, headers), timeout=10) as response:
            return response.status, {}
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def demo_token(node: Node, kind: str, name: str) -> str:
    body = json.dumps({"kind": kind, "id": name}).encode()
    request = urllib.request.Request(node.url + "/demo/token", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return str(json.load(response)["token"])


@pytest.fixture
def node(start_node: Callable[..., Node]) -> Node:
    return start_node("--workers", "1")


def assert_refused(answer: tuple[int, dict[str, object]], what: object) -> None:
    status, body = answer
    assert 400 <= status < 500, (status, body, what)
    assert isinstance(body["errCode"], int)
    assert body["errMsg"], what


def test_malformed_json_is_refused_with_a_reason(node: Node) -> None:
    token = demo_token(node, "user", "anna")
    good: dict[str, object] = {
        "direction": "user_to_device",
        "roomType": "video",
        "caller": {"id": "anna"},
        "listener": {"id": "door"},
    }
    bodies = [b"", b"{", b"[]", b"null", b'"x"', b"NaN", b"\xff\xfe", b"9" * 5000, b"[" * 50_000]
    bodies += [json.dumps({k: v for k, v in good.items() if k != missing}).encode() for missing in good]
    bodies += [json.dumps(good | {name: wrong}).encode() for name in good for wrong in (7, None, [], {"id": 5}, "?")]
    for body in bodies:
        assert_refused(post(node, "/v1/calls", body, "application/json", token), body[:80])


def test_malformed_sdp_is_refused_with_a_reason(node: Node) -> None:
    token = demo_token(node, "publisher", "garden")
    good = str(Offer(Certificate(), "gcm", "sendonly"))
    lines = good.split("\r\n")
    rng = random.Random(9)
    bodies = ["", "v=1", "hello", good[:40], good.replace("a=ice-pwd:", "a=ice-pass:"), good.replace("sha-256", "md5")]
    bodies += [good.replace("a=rtcp-mux\r\n", ""), good.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"), "\0" * 100]
    bodies += [good.replace("m=audio 9", "m=audio x"), good.replace(" 111\r\n", " 128\r\n"), good + "m=audio\r\n" * 500]
    bodies += ["\r\n".join(rng.sample(lines, len(lines))) for _ in range(20)]
    for body in bodies:
        assert_refused(post(node, "/whip/garden", body.encode(), "application/sdp", token), body[:80])
    assert post(node, "/whip/garden", b"v=0\r\n" + b"a=x" * 400_000, "application/sdp", token)[0] == 413
    assert post(node, "/whip/garden", good.encode(), "text/plain", token)[0] == 415
    assert post(node, "/whip/garden", good.encode(), "application/sdp", token)[0] == 201, "the node goes on"
