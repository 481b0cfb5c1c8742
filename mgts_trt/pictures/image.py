"""Pictures in and out: files, folders, and the arrays an application passes."""

from pathlib import Path

import cv2
import numpy as np

from mgts_trt._typing import Array, Floats, Image
from mgts_trt.errors import ImageError
from mgts_trt.machine.files import replace_file
from mgts_trt.pictures.decoding import Decoded, decode_picture, silent_opencv

# DLPack device types whose memory the host reads: kDLCPU and kDLCUDAHost (pinned).
_HOST_DEVICES = (1, 3)


def read_image(path: str | Path) -> Image:
    """Read any picture OpenCV decodes, whatever its suffix; of an animation the first frame.

    Grey becomes RGB, 16 bits are scaled to 8 (65535 → 255), transparency is composited over white, and the EXIF
    orientation is applied, in AVIF that of the picture's item. Of a damaged JPEG it gives what could be decoded;
    `read_picture` tells.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        ImageError: no such file, not a file, empty, cut short, too large, not 8- or 16-bit, or not a picture.
    """
    return read_picture(path).pixels


def read_picture(path: str | Path) -> Decoded:
    """Read a picture as `read_image` does, and say if its file is damaged.

    Raises:
        ImageError: see `read_image`.
    """
    return decode_picture(read_file(Path(path)), path)


def as_image(image: object) -> Image:
    """Check what an application passes as a picture, and view it as a NumPy array.

    Args:
        image: uint8 [H, W, 3], RGB, in host memory: a NumPy array, or anything that offers `__array_interface__`,
            `__array__` or a host `__dlpack__`. It is copied only where its rows are not contiguous.

    Returns:
        uint8 [H, W, 3], H, W ≥ 1.

    Raises:
        ImageError: another shape or type, an empty picture, or memory of a device.
    """
    array = _host_array(image)
    what = f"{array.dtype} {list(array.shape)}"
    expected = "an image is uint8 [H, W, 3], RGB"
    if array.ndim == 2:
        raise ImageError(f"{what} is a grey picture, but {expected}. Convert it: np.stack([image] * 3, axis=-1).")
    if array.ndim != 3:
        raise ImageError(f"{what} is not a picture: {expected}. Pass one picture at a time, without a batch axis.")
    if 0 in array.shape:
        raise ImageError(f"{what} is an empty picture, but {expected}, with at least one pixel.")
    if array.shape[2] != 3:
        if array.shape[0] == 3:
            fix = "It looks channels-first; convert it: np.moveaxis(image, 0, -1)."
        elif array.shape[2] == 4:
            fix = "Drop the alpha channel: image[..., :3]."
        else:
            fix = "Give it three channels; a grey picture is np.repeat(image, 3, axis=-1)."
        raise ImageError(f"{what} has {array.shape[2]} channels, but {expected}. {fix}")
    if array.dtype != np.uint8:
        if array.dtype.kind == "f":
            fix = "If its values lie in 0..1, convert it: (image * 255).round().clip(0, 255).astype(np.uint8)."
        elif array.dtype == np.uint16:
            fix = "If its values span 16 bits, convert it: (image // 257).astype(np.uint8)."
        else:
            fix = "Scale its values to 0..255 and convert it: image.astype(np.uint8)."
        raise ImageError(f"{what} is not 8-bit: {expected}. {fix}")
    return np.ascontiguousarray(array)


def write_image(path: str | Path, image: Image) -> None:
    """Write `image` (uint8 [H, W, 3], RGB) as JPEG or PNG, by the suffix of `path`.

    The file appears whole or not at all: it is written under a temporary name beside `path` and then renamed.

    Raises:
        ImageError: an unknown suffix, a missing or read-only folder, not an image, or too large for the format.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".jpg", ".jpeg", ".png"):
        raise ImageError(
            f"Cannot write {path}: its suffix is {path.suffix!r}, but .jpg, .jpeg or .png is expected. Rename it."
        )
    if not path.parent.is_dir():
        raise ImageError(f"Cannot write {path}: there is no folder {path.parent}. Create it first.")
    data = encode_image(image, suffix, path)
    try:
        with replace_file(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise ImageError(
            f"Cannot write {path}: {error.strerror}. Check the path, its permissions and the free space."
        ) from error


def encode_image(image: Image, suffix: str, name: str | Path) -> bytes:
    """A picture as a JPEG or PNG file's content.

    Args:
        image: uint8 [H, W, 3], RGB.
        suffix: `.jpg`, `.jpeg` or `.png`.
        name: What errors call it.

    Raises:
        ImageError: It is no picture, or too large for the format.
    """
    bgr = cv2.cvtColor(as_image(image), cv2.COLOR_RGB2BGR)
    reason = "the encoder gave no reason"
    try:
        with silent_opencv():
            ok, data = cv2.imencode(suffix, bgr)
    except cv2.error as error:
        ok, reason = False, error.err
    if not ok:
        height, width = bgr.shape[:2]
        raise ImageError(
            f"Cannot write {name}: OpenCV cannot encode {width}x{height} pixels as {suffix} ({reason}). "
            "Use .png or a smaller picture (JPEG holds at most 65,500 pixels a side)."
        )
    return data.tobytes()


def read_file(path: Path) -> bytes:
    """The content of a file that is there and not empty.

    Raises:
        ImageError: It is not, or cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"There is no file {path}. Check the path's spelling.") from None
    except IsADirectoryError:
        raise ImageError(f"{path} is a folder, but a picture is expected. Name one of the files in it.") from None
    except OSError as error:
        raise ImageError(f"Cannot read {path}: {error.strerror}. Check the path and its permissions.") from error
    if not data:
        raise ImageError(f"{path} is empty (0 bytes), but a picture is expected. Fetch or copy it again.")
    return data


def _host_array(image: object) -> Array:
    """View `image` as a NumPy array without converting its values."""
    if isinstance(image, np.ndarray):
        return image
    kind = f"{type(image).__module__}.{type(image).__qualname__}"
    to_host = (
        "Copy it to the host first (`.get()` in CuPy and PyCUDA, `.cpu()` in PyTorch) or open the TensorRT backend."
    )
    if hasattr(image, "__cuda_array_interface__"):
        raise ImageError(f"A {kind} lies in GPU memory, but this backend takes images in host memory. {to_host}")
    try:
        device = image.__dlpack_device__() if hasattr(image, "__dlpack_device__") else (_HOST_DEVICES[0], 0)
        if device[0] in _HOST_DEVICES:
            if hasattr(image, "__array_interface__") or hasattr(image, "__array__"):
                return np.asarray(image)
            if hasattr(image, "__dlpack__"):
                return np.from_dlpack(image)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise ImageError(
            f"A {kind} cannot be viewed as a NumPy array: {error}. Pass a uint8 array [H, W, 3], RGB."
        ) from error
    if device[0] not in _HOST_DEVICES:
        raise ImageError(
            f"A {kind} lies on DLPack device {tuple(int(d) for d in device)}, "
            f"but this backend takes images in host memory. {to_host}"
        )
    hint = "read_image(path) reads a file" if isinstance(image, str | Path) else "np.asarray may convert it"
    raise ImageError(f"A {kind} is not an image: a uint8 array [H, W, 3], RGB, is expected ({hint}).")


def crop(image: Image, box: Floats) -> Image:
    """The pixels of a box, cut at the picture's edges; at least one.

    Args:
        image: uint8 [H, W, 3].
        box: float [4], xyxy, pixels of `image`; it is rounded outwards.

    Returns:
        uint8 [h, w, 3], h, w ≥ 1, contiguous; it may share `image`'s memory.
    """
    height, width = image.shape[:2]
    x1, y1 = (int(np.clip(np.floor(value), 0, size - 1)) for value, size in zip(box[:2], (width, height), strict=True))
    x2, y2 = (
        int(np.clip(np.ceil(value), low + 1, size))
        for value, low, size in zip(box[2:], (x1, y1), (width, height), strict=True)
    )
    return np.ascontiguousarray(image[y1:y2, x1:x2])
