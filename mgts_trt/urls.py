"""URLs as they are shown: without user name, password, or what stands for one in the query."""

import os
import re
from ipaddress import ip_address
from urllib.parse import unquote, unquote_to_bytes

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://?")
"""One slash is what is left where a URL was taken for a path."""

_URL = re.compile(rf"\b{_SCHEME.pattern}(?:[^\s@:/?#]+:(?!\d*(?:[/?#\s]|$))[^@\n]*@)?\S*")
"""In a text: to the next blank, but behind a colon and no port even beyond blanks to an `@`."""

_SECRET = re.compile(
    r"(?P<name>[?&;][^=&;#\s]*(?:pass|pwd|token|secret|signature|credential|api_?key)[^=&;#\s]*|[?&;](?:sig|auth))"
    r"=(?:(?!&[\w.-]+=)\S)*",
    re.IGNORECASE,
)
"""A parameter of a query that lets one in, as cameras (`pwd`) and buckets (`X-Amz-Signature`) have them."""

_HOST = re.compile(r"(?:localhost|\d+\.\d+\.\d+\.\d+|\[[^\]@]*\])(?::\d*)?(?=[/?#]|$)")
"""What begins like this has no user name: a numeric address or localhost, perhaps with a port."""


def masked(text: str, *urls: str) -> str:
    """A text whose URLs show no user name, password or token.

    What stands before the last `@` of a URL is taken for a user name and password wherever it may be one: also where
    it holds `/`, `?`, `#` or `@`, with which no player would understand it. So of a URL that can be read in two ways
    too much is left out rather than too little.

    Args:
        text: Sentences with URLs in them, of which each ends at a blank, but for most passwords that hold one.
        urls: Their user names and passwords are left out where no URL is around them, too; a password of less than
            four characters only beside its user name, since it may be any word.
    """
    for login in filter(None, map(_login, urls)):
        password = login.partition(":")[2]
        for secret in (login, unquote(login), *([password, unquote(password)] if len(password) > 3 else [])):
            text = text.replace(secret, "***")
    return _URL.sub(lambda match: without_login(match[0]), text)


def without_login(url: str) -> str:
    """One URL as `masked` shows it; it may hold blanks, and need not be one."""
    scheme, rest = _split(url)
    if not scheme:
        return url
    login = _login(url)
    return _SECRET.sub(r"\g<name>=***", scheme + (rest[len(login) + 1 :] if login else rest.lstrip("@")))


def url_fault(url: str) -> str | None:
    """Why a URL cannot be understood, and what to write instead, in a sentence; None where it can, or is no URL."""
    scheme, rest = _split(url)
    if not scheme.endswith("//"):
        return None
    login = _login(url)
    if ":" in login and re.search(r"[/?#\s]", login):
        return (
            "Before its last @ stands something that a user name or password cannot hold. Write in them %2F for /, %3F "
            "for ?, %23 for #, %40 for @ and %20 for a blank; and %40 for an @ in the path."
        )
    host = re.split(r"[/?#]", rest[len(login) + 1 :] if login else rest)[0]
    if host.startswith("[") and not _is_bracketed(host):
        return "What begins with [ should be an IPv6 address in brackets, as in rtsp://[::1]:554/live."
    return None


def file_path(url: str) -> str:
    """The path that a `file:` URL names."""
    return os.fsdecode(unquote_to_bytes(re.sub(r"^file:(//[^/]*)?", "", url)))


def _split(url: str) -> tuple[str, str]:
    """Scheme and colon and slashes, and the rest; nothing and the text where it is no URL."""
    match = _SCHEME.match(url)
    return (match[0], url[match.end() :]) if match else ("", url)


def _login(url: str) -> str:
    """User name and password of a URL, without the @; empty where there are none."""
    scheme, rest = _split(url)
    login, at, _ = rest.rpartition("@")
    if not at or scheme.startswith("file:") or _HOST.match(rest):
        return ""
    if ":" in re.split(r"[?#]", login)[0]:
        return login
    # No colon, no password: an @ may stand in the path.
    return re.split(r"[/?#]", rest)[0].rpartition("@")[0]


def _is_bracketed(host: str) -> bool:
    """Whether it is an IPv6 address in brackets, with or without port, or, as in a pattern, no address at all."""
    inside, closed, port = host[1:].partition("]")
    if closed and ":" not in inside:
        return True
    try:
        return bool(closed) and ip_address(inside).version == 6 and re.fullmatch(r"(:\d*)?", port) is not None
    except ValueError:
        return False
