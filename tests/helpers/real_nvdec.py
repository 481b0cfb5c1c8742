"""The installed PyNvVideoCodec without a GPU: its library is loaded over a driver that does nothing, and asked."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

SCRIPT = """
import ctypes, importlib.util, json, re, sys
ctypes.CDLL(sys.argv[1], ctypes.RTLD_GLOBAL)
spec = importlib.util.spec_from_file_location("_PyNvVideoCodec", sys.argv[2])
nvc = importlib.util.module_from_spec(spec)
spec.loader.exec_module(nvc)
packet = nvc.PacketData()
packet.bsl_data, packet.bsl, packet.pts = 4096, 10, 7
packet.decode_flag = int(nvc.VideoPacketFlag.ENDOFPICTURE)
assert (packet.bsl_data, packet.bsl, packet.pts) == (4096, 10, 7)
view = nvc.CAIMemoryView([4, 6, 1], [8, 1, 1], "|u1", 2, 4096, False)
enums = ("cudaVideoCodec", "cudaVideoChromaFormat", "OutputColorType", "Pixel_Format", "DisplayDecodeLatencyType",
    "VideoPacketFlag")
print(json.dumps({
    "arguments": {
        name: [
            re.findall(r"[(,] ?(\\w+): ", line)
            for line in getattr(nvc, name).__doc__.splitlines() if re.match(rf"(\\d+\\. )?{name}\\(\\w+: ", line)
        ]
        for name in ("CreateDecoder", "GetDecoderCaps")
    },
    "members": {name: {key: int(each) for key, each in getattr(nvc, name).__members__.items()} for name in enums},
    "attributes": {name: dir(getattr(nvc, name)) for name in ("PacketData", "DecodedFrame", "PyNvDecoder")},
    "view": view.__cuda_array_interface__,
}))
"""


def real_api() -> dict[str, Any]:
    """Arguments of functions (a list of each overload), members of enums, attributes of classes, what a view tells."""
    spec = importlib.util.find_spec("PyNvVideoCodec")
    if spec is None or spec.origin is None:
        pytest.skip("needs pip install 'mgts-trt[nvdec]'")
    [library] = Path(spec.origin).parent.glob("PyNvVideoCodec_130*.so")
    # The driver's functions that it asks for, by name, are in the file.
    names = sorted(set(re.findall(rb"(?<=\0)cu[A-Z][A-Za-z0-9]+(?:_v\d)?(?=\0)", library.read_bytes())))
    with TemporaryDirectory() as folder:
        stub = Path(folder, "stub.c")
        stub.write_text("\n".join(f"int {name.decode()}(void) {{ return 100; }}" for name in names))
        driver = str(Path(folder, "libcuda.so.1"))
        subprocess.run(["cc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", driver, str(stub)], check=True)
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, driver, str(library)], capture_output=True, text=True, check=True, timeout=60
        )
    return dict(json.loads(done.stdout))
