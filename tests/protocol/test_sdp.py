"""The grammar of descriptions and fragments: what is read, written back, and refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.protocol import sdp
from relay.protocol.ice import Credentials

# RFC 8866 §5, the example there.
EXAMPLE = """v=0
o=jdoe 3724394400 3724394405 IN IP4 198.51.100.1
s=Call to John Smith
i=SDP Offer #1
u=http://www.jdoe.example.com/home.html
e=Jane Doe <jane@jdoe.example.com>
p=+1 617 555-6011
c=IN IP4 198.51.100.1
t=0 0
m=audio 49170 RTP/AVP 0
m=audio 49180 RTP/AVP 0
m=video 51372/2 RTP/AVP 99
c=IN IP6 2001:db8::2
b=AS:128
a=rtpmap:99 h263-1998/90000
a=rtcp-mux
"""


def crlf(text: str) -> str:
    return text.replace("\n", "\r\n")


@pytest.mark.parametrize("text", [EXAMPLE, crlf(EXAMPLE), EXAMPLE.rstrip("\n")])
def test_the_example_of_rfc_8866_is_read(text: str) -> None:
    session = sdp.parse(text)
    assert session.origin == "jdoe 3724394400 3724394405 IN IP4 198.51.100.1"
    assert session.name == "Call to John Smith"
    assert session.connection == "IN IP4 198.51.100.1"
    assert [(m.kind, m.port, m.count, m.protocol, m.formats) for m in session.media] == [
        ("audio", 49170, 1, "RTP/AVP", ["0"]),
        ("audio", 49180, 1, "RTP/AVP", ["0"]),
        ("video", 51372, 2, "RTP/AVP", ["99"]),
    ]
    video = session.media[2]
    assert video.connection == "IN IP6 2001:db8::2"
    assert video.other == ["b=AS:128"]
    assert video.value("rtpmap") == "99 h263-1998/90000"
    assert video.has("rtcp-mux")
    assert video.value("rtcp-mux") is None
    assert list(video.values("rtcp-mux")) == []


def test_what_is_written_reads_the_same() -> None:
    session = sdp.parse(EXAMPLE)
    written = str(session)
    assert written.endswith("\r\n")
    assert "\n" not in written.replace("\r\n", "")
    assert sdp.parse(written) == session
    assert str(sdp.parse(written)) == written


HEAD = "v=0\no=- 1 1 IN IP4 0.0.0.0\ns=-\nt=0 0\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "hello",
        "v=0\n",
        HEAD.replace("v=0", "v=1"),
        HEAD.replace("v=0\n", ""),
        HEAD.replace("IN IP4 0.0.0.0", "IN IP4"),
        HEAD + "nonsense\n",
        HEAD + "A=b\n",
        HEAD + "x=b\n",
        HEAD + "c=IN IP4\n",
        HEAD + "a=\n",
        HEAD + "a=:value\n",
        HEAD + "a=sp ace\n",
        HEAD + "a=x:nul\0\n",
        HEAD + "a=x:carriage\rreturn\n",
        HEAD + "m=audio\n",
        HEAD + "m=audio 9 RTP/AVP\n",
        HEAD + "m=audio 65536 RTP/AVP 0\n",
        HEAD + "m=audio -1 RTP/AVP 0\n",
        HEAD + "m=audio ٣ RTP/AVP 0\n",
        HEAD + "m=audio 9/0 RTP/AVP 0\n",
        HEAD + "m=audio 9 RTP//AVP 0\n",
        HEAD + "m=audio 9 RTP/AVP 0 \n",
        HEAD + "m=audio 9 RTP/AVP 0\nt=0 0\n",
        HEAD + "m=audio 9 RTP/AVP 0\n" * 65,
        HEAD + "a=x\n" * 2000,
        HEAD + "a=x:" + "y" * 65536,
        HEAD + "a=x:" + "字" * 30000,
        HEAD + "a=x:\ud800" * 12000,
    ],
)
def test_malformed_or_oversized_text_is_refused(text: str) -> None:
    with pytest.raises(sdp.SdpError):
        sdp.parse(text)


FRAGMENT = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n"


@pytest.mark.parametrize(
    "text",
    [
        FRAGMENT,
        # RFC 8840 §9, with candidates below the m-line.
        FRAGMENT + "m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 UDP 1 10.0.0.1 5 typ host\r\n",
        "m=audio 9 UDP/TLS/RTP/SAVPF 0\na=mid:0\n" + FRAGMENT + "a=end-of-candidates\n",
    ],
)
def test_a_fragment_yields_its_credentials(text: str) -> None:
    assert sdp.parse_fragment(text) == Credentials("EsAw", "P2uYro0UCOQ4zxjKXaWCBui1")


def test_a_fragment_without_credentials_is_none() -> None:
    assert sdp.parse_fragment("a=end-of-candidates\r\n") is None


@pytest.mark.parametrize(
    "text",
    [
        "a=ice-ufrag:EsAw\n",
        "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\n",
        FRAGMENT.replace("EsAw", "EsA"),
        FRAGMENT.replace("EsAw", "Es:w"),
        FRAGMENT.replace("EsAw", "x" * 257),
        FRAGMENT.replace("P2u", ""),
        FRAGMENT.replace("P2u", "x" * 250),
        FRAGMENT.replace("P2u", "ü"),
        FRAGMENT + "x=y\n",
        FRAGMENT + "m=audio\n",
    ],
)
def test_a_malformed_fragment_is_refused(text: str) -> None:
    with pytest.raises(sdp.SdpError):
        sdp.parse_fragment(text)


LINES = st.lists(
    st.one_of(
        st.sampled_from([*HEAD.splitlines(), "m=audio 9 RTP/AVP 0", "a=mid:0", "a=rtcp-mux", "b=AS:1"]),
        st.text(max_size=30),
        st.tuples(st.sampled_from("vosiuepcbtrzkam"), st.text(max_size=20)).map("=".join),
    ),
    max_size=12,
)


@given(LINES, st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_any_text_raises_only_sdp_error_and_what_is_read_survives_writing(
    lines: list[str], headed: bool, end: str
) -> None:
    text = end.join([*(HEAD.splitlines() if headed else []), *lines])
    for read in (sdp.parse, sdp.parse_fragment):
        try:
            parsed = read(text)
        except sdp.SdpError:
            continue
        if isinstance(parsed, sdp.Session):
            assert sdp.parse(str(parsed)) == parsed
