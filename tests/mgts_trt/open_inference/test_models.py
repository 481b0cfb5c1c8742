import cv2
import numpy as np
import pytest

from mgts_trt import PersonSearch
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.errors import ImageError
from mgts_trt.open_inference.models import model_specs, people_arrays
from tests.helpers.running_service import picture
from tests.helpers.tiny_bundle import make_tiny_bundle


@pytest.mark.parametrize("mode", ["net", "box", "none"])
def test_a_models_outputs_are_what_it_says(tmp_path, mode) -> None:
    image = cv2.cvtColor(cv2.imdecode(np.frombuffer(picture((0, 1)), np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    with PersonSearch(Bundle.open(make_tiny_bundle(tmp_path / "bundle")), mode=mode, threads=1) as search:
        people = search(image)
    assert len(people) > 0
    for count in (len(people), 0):
        specs = model_specs(people.embeddings.shape[1], has_masks=mode != "none")
        outputs = specs["person_search"].outputs
        found = people_arrays(people[:count], frozenset(each.name for each in outputs))
        assert list(found) == [each.name for each in outputs]
        for each in outputs:
            assert found[each.name].shape == tuple(count if side == -1 else side for side in each.shape)
            kind = {"FP32": np.float32, "INT32": np.int32, "BYTES": np.object_}[each.datatype]
            assert found[each.name].dtype == kind
    if mode == "none":
        with pytest.raises(ImageError, match="look at no mask"):
            people_arrays(people, frozenset({"masks"}))
