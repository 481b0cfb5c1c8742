"""Names for the arrays that travel through the package; and `Self`, which Python 3.10 has not yet."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self as Self

Array: TypeAlias = NDArray[Any]
Image: TypeAlias = NDArray[np.uint8]
"""uint8 [H, W, 3], RGB."""
Floats: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int32]
Bools: TypeAlias = NDArray[np.bool_]
