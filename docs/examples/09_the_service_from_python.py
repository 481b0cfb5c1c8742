"""The service, asked from Python: pictures put into its gallery, and a person found there.

Run: mgts-trt serve --gallery out/gallery, and python docs/examples/09_the_service_from_python.py [URL] [FOLDER]
"""

import sys
from pathlib import Path
from typing import Any

import httpx  # pip install httpx


def ask(client: httpx.Client, path: str, **request: Any) -> Any:
    """The answer to a request; of one that failed the sentence that says why, as an error."""
    response = client.post(path, **request)
    if response.is_error:
        sys.exit(f"{response.status_code}: {response.json()['error']}")
    return response.json()


def main(url: str = "http://127.0.0.1:8000", folder: str = "docs/pictures/samples/store_aisle") -> None:
    """Index a folder, then search for the man in its first picture."""
    photos = sorted(Path(folder).glob("*.jpg"))
    with httpx.Client(base_url=url, timeout=60) as client:  # with a key: headers={"X-API-Key": key}
        files = [("images", (photo.name, photo.read_bytes())) for photo in photos]
        done = ask(client, "/index", files=files, data={"camera": "3"})
        print(f"{done['indexed']} pictures in the gallery, {done['people']} people new, {len(done['failures'])} failed")

        probe = {"image": photos[0].read_bytes()}
        where = {"box": "240,63,320,231", "where": "camera=3", "top": 5}  # x1,y1,x2,y2 in pixels
        for match in ask(client, "/search", files=probe, data=where)["matches"]:
            print(f"{match['rank']}  {match['likeness']:.3f}  {match['source']}  {match['box']}")


main(*sys.argv[1:])
