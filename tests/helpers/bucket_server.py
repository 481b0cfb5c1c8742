"""An S3-compatible server on loopback: moto, in a process of its own: `python -m tests.helpers.bucket_server`."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

from tests.helpers.paths import ROOT

BUCKET = "shop"


@contextlib.contextmanager
def bucket_server(*, conditional: bool = True) -> Iterator[dict[str, str]]:
    """Runs a server with an empty bucket `shop`; gives the environment that leads LanceDB and boto3 to it.

    Args:
        conditional: Whether it refuses to write what is there already when asked to, as S3 does. Moto looks and then
            writes; so that nobody writes between, one request writes at a time.
    """
    command = [sys.executable, "-m", __name__, *([] if conditional else ["unconditional"])]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:"), "the server did not start"
            yield {
                "AWS_ENDPOINT_URL": address,
                "AWS_ALLOW_HTTP": "true",
                "AWS_ACCESS_KEY_ID": "key",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "AWS_REGION": "us-east-1",
            }
        finally:
            server.kill()


def objects(prefix: str = "") -> dict[str, bytes]:
    """All that the bucket holds below a prefix, by key; the environment tells the server."""
    import boto3

    found = boto3.resource("s3", region_name="us-east-1").Bucket(BUCKET).objects.filter(Prefix=prefix)
    return {each.key: each.get()["Body"].read() for each in found}


class _Writes:
    """One at a time, and with their conditions or without."""

    def __init__(self, application: Any, conditional: bool) -> None:
        self._application, self._conditional, self._lock = application, conditional, threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return self._application(environ, start_response)
        if not self._conditional:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        with self._lock:
            return self._application(environ, start_response)


def main(*unconditional: str) -> None:
    """Serve until standard input ends, as it does with whoever started this."""
    import boto3
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"  # which keeps connections

        def log(self, *_: object) -> None:
            pass

    os.environ.update(AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret")
    application = _Writes(DomainDispatcherApplication(create_backend_app), not unconditional)
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.port}"
    boto3.client("s3", endpoint_url=address, region_name="us-east-1").create_bucket(Bucket=BUCKET)
    print(address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
