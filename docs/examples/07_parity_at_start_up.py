"""An application that proves at its start that this machine gives what PyTorch gave, and refuses to start otherwise.

Run: python docs/examples/07_parity_at_start_up.py [BUNDLE] [PHOTO]
"""

import sys

from mgts_trt import Bundle, PersonSearch, read_image
from mgts_trt.evaluation.parity import compare_bundle, failures
from mgts_trt.runtime.session.backends import select_runtime


def prove(bundle: Bundle) -> None:
    """Run each network on the bundle's golden pictures, and end the program where a number is out of tolerance."""
    runtime = select_runtime(bundle, tuple(bundle.manifest.models), precision="fp32", backend="auto", threads=None)
    try:
        comparisons = compare_bundle(bundle, runtime, precisions=("fp32",))
    finally:
        runtime.close()
    for row in comparisons:
        if not row.ok:
            print(f"{row.model}, {row.metric} on {row.picture}: {row.value:.4g}, bound {row.bound:g}", file=sys.stderr)
    if failed := failures(comparisons, None):
        sys.exit(f"{failed} of {len(comparisons)} numbers differ from PyTorch's on {runtime.device}: not starting.")
    print(f"{len(comparisons)} numbers are PyTorch's on {runtime.device}: starting.")


def main(root: str = "bundle", photo: str = "docs/pictures/samples/33823288584_1d21cf0a26_k.jpg") -> None:
    """Prove, then work."""
    bundle = Bundle.open(root)
    prove(bundle)
    with PersonSearch(bundle, mode="net") as search:
        print(f"{len(search(read_image(photo)))} people in {photo}")


main(*sys.argv[1:])
