"""The exported graphs against PyTorch's networks, stage by stage.

Each reference stage is fed with the graph's own previous tap: a near-tie in a ranking can then neither hide nor fake
an error in the stages after it.
"""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="the graph forms need PyTorch")
pytest.importorskip("onnxscript", reason="exporting needs onnxscript")

import torch
from torch import Tensor, nn
from torchvision import ops

from export.graphs.networks import (
    GRAPHS,
    DetectorGraph,
    IDNetGraph,
    MaskNetGraph,
    MGTSGraph,
    compact,
    fold_batch_norm,
    propose,
    rank_and_suppress,
)
from export.graphs.trace import export_onnx
from export.onnx_file import with_taps
from mgts_trt.bundle.recipe import MODELS
from tests.helpers.tiny_networks import fine, trained_networks
from training.models import FCIS, MGTS, FasterRCNN
from training.models.rpn import RPN, clip_boxes, decode_boxes
from training.preset import Preset

Outputs = dict[str, Tensor]


def picture(preset: Preset, seed: int) -> Tensor:
    """Coarse random blobs, so that regions differ."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 9, generator=generator) * 255
    return nn.functional.interpolate(coarse, preset.canvas, mode="bicubic")[0].permute(1, 2, 0).clamp(0, 255).byte()


def patches(preset: Preset, n: int, seed: int) -> Tensor:
    return torch.randn(n, 3, *preset.patch, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def run(exported: Callable[[str], Path], run_onnx: Callable) -> Callable[..., Outputs]:
    """Run an exported model with its taps in ONNX Runtime: on patches, or on one picture, without the batch axis."""

    def call(name: str, **inputs: Tensor) -> Outputs:
        model = with_taps(exported(name), GRAPHS[name].taps)
        if "image" in inputs:
            inputs = {"image": inputs["image"][None]}
        out = run_onnx(model, **{key: value.numpy() for key, value in inputs.items()})
        assert tuple(out) == GRAPHS[name].outputs + GRAPHS[name].taps
        return of_one(out) if "image" in inputs else {key: torch.from_numpy(value) for key, value in out.items()}

    return call


def of_one(out: dict[str, np.ndarray]) -> Outputs:
    """One picture's outputs and taps; feature maps, which networks take in batches, stay a batch of one."""
    assert all(len(value) == 1 for value in out.values())
    maps = ("features", "conv4", "conv5", "score_maps")
    return {key: torch.from_numpy(value if key in maps else value[0]) for key, value in out.items()}


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    """Within `tolerance` of the largest value."""
    scale = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(actual, expected, atol=tolerance * scale, rtol=0)


def check_proposals(out: Outputs, rpn: RPN, features: Tensor, hw: tuple[int, int]) -> Tensor:
    """Logits, deltas, candidates, proposals, proposed. Returns the proposals without padding."""
    logits, deltas = rpn(features)
    close(out["rpn_logits"], logits[0])
    close(out["rpn_deltas"], deltas[0])

    # Stable, as ONNX defines TopK: of equal logits the lower index goes first.
    index = out["rpn_logits"].argsort(descending=True, stable=True)[: rpn.preset.candidates]
    boxes = clip_boxes(decode_boxes(out["rpn_deltas"][index], rpn.anchors(features)[index]), hw)
    close(out["candidates"], boxes)

    ranking = torch.arange(len(boxes), 0, -1).float()
    expected = out["candidates"][ops.nms(out["candidates"], ranking, rpn.preset.nms)[: rpn.preset.proposals]]
    n = len(expected)
    assert out["proposed"].tolist() == [1.0] * n + [0.0] * (rpn.preset.proposals - n)
    assert torch.equal(out["proposals"][:n], expected)
    assert not out["proposals"][n:].any()
    return expected


def check_final(out: Outputs, n: int, threshold: float, to_canvas: Tensor | float = 1.0) -> Tensor:
    """Boxes and scores. Returns the rows of the RoIs they come from."""
    keep = ops.nms(out["roi_boxes"][:n], out["roi_margins"][:n], threshold)
    found = len(keep)
    torch.testing.assert_close(out["boxes"][:found], out["roi_boxes"][keep] * to_canvas)
    torch.testing.assert_close(out["scores"][:found], torch.sigmoid(out["roi_margins"][keep]))
    assert not out["boxes"][found:].any()
    assert not out["scores"][found:].any()
    assert bool((out["scores"][:found] > 0).all())
    return keep


@torch.no_grad()
@pytest.mark.parametrize("seed", range(3))
def test_detector_stage_by_stage(tiny: Preset, networks: dict, run: Callable[..., Outputs], seed: int) -> None:
    network, image = networks["detector"], picture(tiny, seed)
    out = run("detector", image=image)
    close(out["features"], network.features(network.normalise(image)))
    proposals = check_proposals(out, network.rpn, out["features"], tiny.canvas)
    n = len(proposals)
    boxes, margins = network.refine(*network.box_head(network.roi_features(out["features"], [proposals])), proposals)
    close(out["roi_boxes"][:n], boxes)
    close(out["roi_margins"][:n], margins)
    assert (boxes - proposals).abs().max() > 1
    keep = check_final(out, n, network.final_nms)
    assert 1 < len(keep) < n


@torch.no_grad()
@pytest.mark.parametrize("seed", range(3))
def test_masknet_stage_by_stage(tiny: Preset, networks: dict, run: Callable[..., Outputs], seed: int) -> None:
    image = picture(tiny, seed)
    check_masknet(tiny, networks["masknet"], image, run("masknet", image=image))


@torch.no_grad()
def test_masknet_with_finer_maps_stage_by_stage(tiny: Preset, run_onnx: Callable, tmp_path: Path) -> None:
    preset, image = fine(tiny), picture(tiny, 0)
    network = trained_networks(preset)["masknet"]
    assert isinstance(network, FCIS)
    graph = MaskNetGraph(network)
    export_onnx(graph, {"image": torch.stack([image, image])}, tmp_path / "fine.onnx", dynamic="B")
    found = run_onnx(with_taps(tmp_path / "fine.onnx", graph.taps), image=image[None].numpy())
    out = of_one(found)
    height, width = preset.masknet.input
    assert out["score_maps"].shape[2:] == (-(-height // 8), -(-width // 8))
    check_masknet(preset, network, image, out)


def check_masknet(tiny: Preset, network: FCIS, image: Tensor, out: Outputs) -> None:
    conv4, _, fine = network.features(network.resize(image))
    close(out["conv4"], conv4)
    close(out["score_maps"], network.score_maps(fine))
    close(out["conv5"], torch.relu(network.reduce(network.backbone.layer4(out["conv4"]))))
    proposals = check_proposals(out, network.rpn, out["conv4"], network.input_hw)
    n = len(proposals)
    assert n < tiny.masknet.rpn.proposals  # there is padding
    close(out["roi_boxes"][:n], network.move(network.read_boxes(out["conv5"], [proposals]), proposals))
    assert (out["roi_boxes"][:n] - proposals).abs().max() > 1
    scores = network.assemble(out["score_maps"], [out["roi_boxes"][:n]], network.fine_stride)
    margins, masks = network.score_and_mask(scores)
    close(out["roi_margins"][:n], margins)
    close(out["roi_masks"][:n], masks)
    keep = check_final(out, n, network.final_nms, network.to_canvas)
    assert torch.equal(out["masks"][: len(keep)], out["roi_masks"][keep])
    assert not out["masks"][len(keep) :].any()
    assert masks.std() > 0.05


@torch.no_grad()
def test_equal_logits_rank_alike(tiny: Preset, run_exported: Callable) -> None:
    """Thousands of anchors have few distinct logits: the exported selection breaks ties as the reference does."""
    rpn, features = RPN(8, tiny.detector.rpn), torch.zeros(1, 8, 5, 9)
    generator = torch.Generator().manual_seed(0)
    anchors = rpn.anchors(features)
    logits = torch.randint(0, 4, (len(anchors),), generator=generator).float()
    deltas = torch.randn(len(anchors), 4, generator=generator) * 0.1

    def function(logits: Tensor, deltas: Tensor) -> tuple[Tensor, ...]:
        return propose(rpn, features, logits, deltas, tiny.canvas)

    found = run_exported(function, ("candidates", "proposals", "proposed"), logits=logits[None], deltas=deltas[None])
    out = {name: array[0] for name, array in found.items()}
    expected = rpn.propose(logits, deltas, anchors, tiny.canvas)
    assert out["proposed"].sum() == len(expected)
    torch.testing.assert_close(torch.from_numpy(out["proposals"][: len(expected)]), expected, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("name", ["mgts", "idnet"])
def test_reid_end_to_end(tiny: Preset, networks: dict, run: Callable[..., Outputs], name: str, n: int) -> None:
    inputs = {key: patches(tiny, n, seed) for seed, key in enumerate(GRAPHS[name].inputs)}
    out, network = run(name, **inputs), networks[name]
    expected = network(*inputs.values())
    assert out["embedding"].shape == (n, tiny.embedding)
    torch.testing.assert_close(out["embedding"].norm(dim=1), torch.ones(n))
    assert bool(((out["embedding"] * expected).sum(dim=1) >= 0.99999).all())
    close(out["original_features"], network.o_net(inputs["original"]))
    if name == "mgts":
        close(out["foreground_features"], network.f_net(inputs["foreground"]))
        close(out["embedding"], network.head(out["foreground_features"], out["original_features"]), 1e-5)
    if n > 1:  # a row depends on its own patches alone
        first = run(name, **{key: value[:1] for key, value in inputs.items()})
        close(out["embedding"][:1], first["embedding"], 1e-5)


@settings(max_examples=30)
@given(st.integers(1, 4), st.integers(1, 8), st.integers(1, 4), st.integers(0, 2**32 - 1), st.floats(0.01, 100))
@torch.no_grad()
def test_algebraic_head_is_the_papers(networks: dict, n: int, h: int, w: int, seed: int, scale: float) -> None:
    network = copy.deepcopy(networks["mgts"])
    network.f_net, network.o_net = nn.Identity(), nn.Identity()
    generator = torch.Generator().manual_seed(seed % 2**32)
    f, o = (torch.randn(n, 16, h, w, generator=generator) * scale for _ in range(2))
    embedding, *taps = MGTSGraph(network)(f, o)
    assert torch.equal(taps[0], f)
    assert torch.equal(taps[1], o)
    torch.testing.assert_close(embedding, network.head(f, o), atol=1e-5, rtol=0)


def test_embedding_of_nothing_is_zero_as_in_training(networks: dict) -> None:
    network = copy.deepcopy(networks["mgts"])
    network.f_net, network.o_net = nn.Identity(), nn.Identity()
    zero = torch.zeros(2, 16, 4, 2)
    assert not MGTSGraph(network)(zero, zero)[0].any()
    assert not network.head(zero, zero).any()


@torch.no_grad()
@pytest.mark.parametrize("name", MODELS)
def test_folding_leaves_the_function_and_the_network(tiny: Preset, networks: dict, name: str) -> None:
    network = copy.deepcopy(networks[name]).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    folded = fold_batch_norm(network)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert not folded.training
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())

    reference = networks[name]
    for stream in ("features", "backbone", "f_net", "o_net"):
        if isinstance(getattr(reference, stream, None), nn.Module):
            x = patches(tiny, 2, 5)
            close(getattr(folded, stream)(x), getattr(reference, stream)(x))


def everything(network: FasterRCNN | FCIS) -> FasterRCNN | FCIS:
    """Every anchor grows beyond the canvas and is cut to the whole of it: the first NMS leaves one box."""
    network = copy.deepcopy(network)
    with torch.no_grad():
        network.rpn.deltas.weight.zero_()
        network.rpn.deltas.bias.copy_(torch.tensor([0.0, 0, 4, 4]).repeat(network.rpn.preset.anchors_per_cell))
    return network


@torch.no_grad()
def test_one_proposal_makes_one_detection(tiny: Preset, networks: dict) -> None:
    network, image = everything(networks["detector"]), picture(tiny, 0)
    boxes, scores, *taps = (each[0] for each in DetectorGraph(network)(image[None]))
    named = dict(zip(DetectorGraph.taps, taps, strict=True))
    h, w = tiny.canvas
    assert named["proposed"].tolist() == [1.0] + [0.0] * (tiny.detector.rpn.proposals - 1)
    assert named["proposals"][0].tolist() == [0, 0, w, h]
    reference = network(image)
    assert len(reference.boxes) == 1
    close(boxes[:1], reference.boxes)
    close(scores[:1], reference.scores)
    assert not boxes[1:].any()
    assert not scores[1:].any()


@torch.no_grad()
def test_one_proposal_makes_one_instance(tiny: Preset, networks: dict) -> None:
    network, image = everything(networks["masknet"]), picture(tiny, 0)
    boxes, scores, masks, *taps = (each[0] for each in MaskNetGraph(network)(image[None]))
    named = dict(zip(MaskNetGraph.taps, taps, strict=True))
    assert named["proposed"].sum() == 1
    reference = network(image)
    assert len(reference.boxes) == 1
    for actual, expected in zip((boxes, scores, masks), reference, strict=True):
        close(actual[:1], expected)
        assert not actual[1:].any()


@torch.no_grad()
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["detector", "masknet"])
def test_end_to_end_on_one_machine(tiny: Preset, networks: dict, name: str, seed: int) -> None:
    """As many people as PyTorch's network finds, at the same places."""
    image, graph = picture(tiny, seed), GRAPHS[name](networks[name])
    outputs = graph(image[None])[: len(graph.outputs)]
    for (actual,), expected in zip(outputs, networks[name](image), strict=True):
        close(actual[: len(expected)], expected, 1e-3)
        assert not actual[len(expected) :].any()


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_padding_is_never_found_and_never_suppresses(n: int, seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    valid = rng.random(n) < share
    rows = rng.uniform(0, 1, (n, 4)) * [30, 12, 20, 20]
    rows[:, 2:] += rows[:, :2]
    # Padding as tempting as can be: the best margins, over real boxes.
    margins = np.where(valid, rng.normal(0, 3, n), 1e6)
    boxes, logits = torch.from_numpy(rows).float(), torch.from_numpy(margins).float()
    one = (boxes[None], logits[None], torch.from_numpy(valid).float()[None])
    order, taken, found = (each[0] for each in rank_and_suppress(*one, 0.45))
    real = torch.from_numpy(np.flatnonzero(valid))
    keep = real[ops.nms(boxes[real], logits[real], 0.45)]
    assert order.shape == taken.shape == (n,)
    assert taken.tolist() == [1.0] * len(keep) + [0.0] * (n - len(keep))
    assert order[: len(keep)].tolist() == keep.tolist()
    assert torch.equal(found[: len(keep)], boxes[keep])
    assert not found[len(keep) :].any()


@pytest.mark.parametrize("name", MODELS)
def test_names(name: str) -> None:
    graph = GRAPHS[name]
    assert not set(graph.outputs) & set(graph.taps)
    assert len(set(graph.taps)) == len(graph.taps)


def test_graphs_in_the_order_of_the_bundle() -> None:
    assert tuple(GRAPHS) == MODELS
    assert GRAPHS["mgts"].inputs == ("foreground", "original")
    assert IDNetGraph.inputs == ("original",)


@torch.no_grad()
def test_streams_keep_their_inputs(tiny: Preset, networks: dict, run: Callable[..., Outputs]) -> None:
    """Tracing must not have merged foreground and original."""
    a, b = patches(tiny, 2, 0), patches(tiny, 2, 1)
    network: MGTS = networks["mgts"]
    for foreground, original in ((a, b), (b, a), (a, a)):
        out = run("mgts", foreground=foreground, original=original)
        close(out["embedding"], network(foreground, original), 1e-4)
    assert (network(a, b) - network(b, a)).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("keep", "count", "rows", "taken"),
    [
        ([0, 1, 1, 0, 1], 3, [1, 2, 4], [1, 1, 1]),
        ([0, 1, 1, 0, 1], 2, [1, 2], [1, 1]),
        ([0, 1, 1, 0, 1], 5, [1, 2, 4], [1, 1, 1, 0, 0]),
        ([1, 1, 1], 3, [0, 1, 2], [1, 1, 1]),
        ([1, 1, 1], 1, [0], [1]),
        ([0, 0, 0], 3, [], [0, 0, 0]),
        ([0, 0, 1], 1, [2], [1]),
        ([0], 1, [], [0]),
        ([1], 1, [0], [1]),
    ],
)
def test_compact(keep: list[float], count: int, rows: list[int], taken: list[float]) -> None:
    index, places = (each[0] for each in compact(torch.tensor([keep], dtype=torch.float32), count))
    assert index.dtype == torch.int64
    assert places.tolist() == taken
    assert index.shape == (count,)
    assert index[: len(rows)].tolist() == rows
    # Padding repeats no row and stays in range, so that whoever gathers with it is safe.
    assert len(set(index.tolist())) == count
    assert set(index.tolist()) <= set(range(len(keep)))


@settings(max_examples=60)
@given(st.lists(st.booleans(), min_size=1, max_size=3000), st.data())
def test_compact_keeps_the_first_in_order(keep: list[bool], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(keep)))
    index, places = (each[0] for each in compact(torch.tensor([keep]).float(), count))
    expected = [i for i, k in enumerate(keep) if k][:count]
    # Padding is determined too: the rows dropped, in order.
    assert index.tolist() == (expected + [i for i, k in enumerate(keep) if not k])[:count]
    assert places.tolist() == [1] * len(expected) + [0] * (count - len(expected))
