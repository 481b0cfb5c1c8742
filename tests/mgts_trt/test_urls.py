import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mgts_trt.urls import file_path, masked, url_fault, without_login

ODD = st.text("abz19#/?@:[]%&=;+ .\\'\"<>{}|~é", min_size=1, max_size=12)
"""Passwords as people choose them, and never encode."""


@given(
    ODD, st.sampled_from(["ann", "ann@corp.com", "CORP\\ann", "CORP/ann", ""]), st.sampled_from(["rtsp", "db", "s3"])
)
@example("12/3", "ann", "rtsp")
@example("s@x/y", "ann", "rtsp")
@example("p#w?x/y@z", "ann", "http")
def test_no_password_is_left(password: str, user: str, scheme: str) -> None:
    shown = without_login(f"{scheme}://{user}:{password}@cam.local/1")
    assert shown == f"{scheme}://cam.local/1"
    assert without_login(shown) == shown
    if " " not in password:  # where a text's URL ends is not certain then; see below
        text = masked(f"Cannot open {scheme}://{user}:{password}@cam.local/1, nobody answers.")
        assert text == f"Cannot open {scheme}://cam.local/1, nobody answers."


@given(ODD)
def test_a_password_that_cannot_be_understood_is_refused(password: str) -> None:
    fault = url_fault(f"rtsp://ann:{password}@cam.local/1")
    assert (fault is not None) == any(sign in "/?#" or sign.isspace() for sign in password)
    assert fault is None or "%2F" in fault


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://10.0.0.1:554/live?channel=1",
        "http://10.0.0.1:8080/a@b:c",
        "http://[::1]:8080/@live",
        "http://localhost/a@2x.jpg",
        "https://cdn.example/@ann/live.m3u8",
        "https://cdn.example/live/@ann/12:30.m3u8",
        "s3://bucket/day 1/a@b.jpg",
        "memory://*/*.[jP]*",
        "memory://[ab]*/x.jpg",
        "/srv/photos/a@b:c.jpg",
        "file:///srv/a:b@c.jpg",
        "rtsp://[fe80::1]:554/x",
        "C:/photos/a:b@1.jpg",
    ],
)
def test_what_holds_no_password_stays(url: str) -> None:
    assert without_login(url) == url == masked(url)
    assert url_fault(url) is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://ann@cam/1@2", "rtsp://cam/1@2"),
        ("rtsp://@cam/1", "rtsp://cam/1"),
        ("rtsp://ann:pw@[::1]:554/1", "rtsp://[::1]:554/1"),
        ("http://cam/video.cgi?user=ann&pwd=s3&cret&rate=5", "http://cam/video.cgi?user=ann&pwd=***&rate=5"),
        ("https://b.s3.example/a.jpg?X-Amz-Signature=ab12", "https://b.s3.example/a.jpg?X-Amz-Signature=***"),
        ("https://cdn/live?access_token=ab#t", "https://cdn/live?access_token=***"),
        ("http://cam/v?keyframe=1&author=ann", "http://cam/v?keyframe=1&author=ann"),
    ],
)
def test_what_is_left_out(url: str, shown: str) -> None:
    assert without_login(url) == shown == masked(url)


def test_a_url_taken_for_a_path() -> None:
    assert masked("There is no file x/rtsp:/ann:p#w d@h/x.") == "There is no file x/rtsp:/h/x."


def test_every_url_of_a_text() -> None:
    text = masked("Nothing in rtsp://a:b#c@h/1, db://d:e/f@g and /tmp/a@b: ask x@y.\nrtsp://i:j@k")
    assert text == "Nothing in rtsp://h/1, db://g and /tmp/a@b: ask x@y.\nrtsp://k"


def test_a_library_that_quotes_the_password_alone() -> None:
    url = "sftp://ann:p%2Fword@host/x"
    assert masked("no host 'ann:p/word', p%2Fword refused", url) == "no host '***', *** refused"
    assert masked("a cat", "db://x:a@b") == "a cat"


@pytest.mark.parametrize(
    "url", ["rtsp://[::1/x", "rtsp://[::1]x/y", "rtsp://ann:pw@[1:2]/x", "db://[", "rtsp://[::1]:a"]
)
def test_brackets_that_hold_no_address(url: str) -> None:
    assert "IPv6" in (url_fault(url) or "")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///a/two%20words.jpg", "/a/two words.jpg"),
        ("file://localhost/a?b#c.jpg", "/a?b#c.jpg"),
        ("file:/a", "/a"),
        ("file://[::1/a", "/a"),
    ],
)
def test_file_urls(url: str, path: str) -> None:
    assert file_path(url) == path
