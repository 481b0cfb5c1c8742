import numpy as np
import pytest

from mgts_trt.stages.head import HeadWeights, fused_head


@pytest.fixture(scope="module")
def network(tiny):
    import torch

    from training.models import MGTS

    torch.manual_seed(0)
    return MGTS(tiny).eval()


def weights_of(network):
    layers = network.se.squeeze, network.se.excite, network.fc
    return HeadWeights(*(layer.weight.detach().numpy() for layer in layers))


class TestFusedHead:
    @pytest.mark.parametrize("n", [1, 5])
    @pytest.mark.parametrize("map_hw", [(8, 4), (3, 1)])
    def test_is_the_papers_head(self, network, n, map_hw):
        import torch

        torch.manual_seed(n)
        f, o = (torch.randn(n, network.f_net.conv5_channels, *map_hw) * 3 for _ in range(2))
        with torch.inference_mode():
            expected = network.head(f, o).numpy()
        embedding = fused_head(f.numpy(), o.numpy(), weights_of(network))
        assert embedding.dtype == np.float32
        np.testing.assert_allclose(embedding, expected, atol=1e-6)

    def test_half_precision_maps_are_summed_in_float32(self):
        maps = np.full((1, 2, 64, 64), 100, np.float16)  # their sum is beyond float16
        weights = HeadWeights(np.ones((1, 4)), np.ones((4, 1)), np.eye(4))
        np.testing.assert_allclose(fused_head(maps, maps, weights), np.full((1, 4), 0.5), atol=1e-6)

    def test_nothing_stays_nothing(self):
        maps = np.zeros((2, 2, 4, 2), np.float32)
        weights = HeadWeights(np.ones((1, 4)), np.ones((4, 1)), np.eye(4))
        assert (fused_head(maps, maps, weights) == 0).all()
