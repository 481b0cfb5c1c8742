"""A picture that lies on the GPU already is searched where it is: it never goes over the host.

Run: python docs/examples/05_pictures_on_the_gpu.py [PHOTO] [BUNDLE]    (a GPU, PyTorch, and `mgts-trt build BUNDLE`)
"""

import sys

from mgts_trt import MgtsError, PersonSearch, read_image
from mgts_trt.machine.gpus import find_gpus


def main(photo: str = "docs/pictures/samples/17790319373_bd19b24cfc_k.jpg", bundle: str = "bundle") -> None:
    """Search a tensor on the GPU."""
    if not find_gpus():
        sys.exit("This example needs an NVIDIA GPU and its driver, and there is none here.")
    import torch  # CuPy, Numba and PyCUDA do as well

    with PersonSearch.open(bundle, backend="tensorrt") as search:
        # As a decoder or camera on the GPU might leave it: uint8 [H, W, 3], RGB, contiguous.
        picture = torch.from_numpy(read_image(photo)).to("cuda", non_blocking=True)
        # A tensor does not tell which stream writes it: name it, and the GPU waits for it, the host does not.
        people = search(picture, stream=torch.cuda.current_stream())

    for box, score in zip(people.boxes, people.scores, strict=True):
        print(f"{score:.2f}  {box.round().astype(int).tolist()}")


try:
    main(*sys.argv[1:])
except MgtsError as error:  # no TensorRT, or no plans for this GPU: the message says what to do
    sys.exit(str(error))
