"""Videos as they are in the wild: of unknown length, with more announced than there is, cut short."""

import struct
from pathlib import Path

from tests.helpers.camera_scenes import write_video

CODECS = {
    ".avi": "MJPG",
    ".mkv": "MJPG",
    ".webm": "VP80",
    ".mp4": "mp4v",
    ".mov": "MJPG",
    ".wmv": "WMV2",
    ".ts": "MPG2",
}


def write_film(path: Path, seeds: range) -> bytes:
    """A scene a frame, 10 frames a second, in the container its name tells; returns its content.

    In an MP4 the index comes first, so that the rest can be cut off.
    """
    write_video(path, seeds, CODECS[path.suffix])
    if path.suffix == ".mp4":
        path.write_bytes(_index_first(path.read_bytes()))
    return path.read_bytes()


def announcing(webm: bytes, seconds: float) -> bytes:
    """A WebM that tells another duration, as one does whose sound goes on or whose rate of frames falls."""
    return _replaced(webm, b"\x44\x89\x88", 11, b"\x44\x89\x88" + struct.pack(">d", seconds * 1000))


def live_muxed(webm: bytes) -> bytes:
    """A WebM as a recorder writes it into a pipe: no duration, no index, no sizes of segment and clusters."""
    void = b"\xec"
    data = _replaced(webm, b"\x44\x89\x88", 11, void + b"\x89" + bytes(9))
    data = _replaced(data, b"\x11\x4d\x9b\x74", 63, void + b"\x40\x3c" + bytes(60))
    data = _replaced(data, b"\x18\x53\x80\x67\x01", 12, b"\x18\x53\x80\x67\x01" + b"\xff" * 7)
    data = data[: data.rindex(b"\x1c\x53\xbb\x6b")]
    at = data.index(b"\x1f\x43\xb6\x75") + 4
    assert data[at] >> 6 == 1, "The cluster's size is not told in two bytes."
    return data[:at] + b"\x7f\xff" + data[at + 2 :]


def sounding_first(live: bytes, packets: int) -> bytes:
    """A live-muxed WebM with packets of sound before its first frame, as where nothing moved for a while."""
    audio = b"\xe1\x8d\xb5\x84" + struct.pack(">f", 8000) + b"\x9f\x81\x01\x62\x64\x81\x10"
    audio = audio[:1] + bytes([0x80 + len(audio) - 2]) + audio[2:]
    track = b"\xd7\x81\x02\x73\xc5\x81\x02\x83\x81\x02\x86\x8dA_PCM/INT/LIT" + audio
    track = b"\xae" + bytes([0x80 + len(track)]) + track
    at = live.index(b"\x16\x54\xae\x6b") + 4
    size = live[at] & 0x7F
    tracks = live[at + 1 : at + 1 + size] + track
    clusters = live[at + 1 + size :]
    first = clusters.index(b"\xe7\x81\x00\xa3") + 3
    sound = b"\xa3\x86\x82\x00\x00\x80\x00\x00" * packets
    length = (len(tracks) | 0x4000).to_bytes(2, "big")
    return live[:at] + length + tracks + clusters[:first] + sound + clusters[first:]


def _index_first(mp4: bytes) -> bytes:
    """The box `moov` before `mdat`, and the places of chunks in it moved by its length."""
    head, data = mp4.index(b"mdat") - 4, mp4.index(b"moov") - 4
    index = bytearray(mp4[data:])
    at = index.index(b"stco") + 8
    for entry in range(at + 4, at + 4 + 4 * int.from_bytes(index[at : at + 4], "big"), 4):
        place = int.from_bytes(index[entry : entry + 4], "big") + len(index)
        index[entry : entry + 4] = place.to_bytes(4, "big")
    return mp4[:head] + bytes(index) + mp4[head:data]


def _replaced(data: bytes, begin: bytes, length: int, by: bytes) -> bytes:
    at = data.index(begin)
    assert len(by) == length
    return data[:at] + by + data[at + length :]
