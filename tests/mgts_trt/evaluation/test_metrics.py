import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgts_trt.errors import MetricError
from mgts_trt.evaluation import metrics
from mgts_trt.evaluation.mask_metrics import evaluate_masks, mask_iou
from mgts_trt.evaluation.metrics import average_precision, evaluate_detection, evaluate_reid, evaluate_search

patient = settings(max_examples=60)
"""A busy machine is no defect of the code."""

BOXES = [(0, 0, 10, 20), (1, 0, 11, 20), (0, 0, 10, 10), (4, 0, 14, 20), (50, 50, 60, 70), (0, 0, 30, 60)]
"""Overlapping and not; the IoU of the first and third is exactly 0.5."""


def literal_ranking(scores, labels, total) -> tuple[float, int]:
    """AP, threshold by threshold, and the first hit's rank where equals are sorted negatives first."""
    ap, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        kept = [label for score, label in zip(scores, labels, strict=True) if score >= threshold]
        ap += (sum(kept) / total - recall) * sum(kept) / len(kept)
        recall = sum(kept) / total
    ranked = [label for _, label in sorted(zip(scores, labels, strict=True), key=lambda pair: (-pair[0], pair[1]))]
    return ap, ranked.index(True) + 1 if True in ranked else 0


def literal_iou(a, b) -> float:
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union


def literal_search(query, gallery, detections, iou_threshold) -> tuple[float, int]:
    scores, labels, total = [], [], 0
    for name, truth in gallery:
        boxes, embeddings = detections[name]
        similarities = [float(np.dot(query, e)) for e in embeddings]
        of_image = [False] * len(boxes)
        if truth is not None:
            total += 1
            w, h = truth[2] - truth[0], truth[3] - truth[1]
            least = min(0.5, w * h / ((w + 10) * (h + 10))) if iou_threshold == "oim" else iou_threshold
            for i in sorted(range(len(boxes)), key=lambda i: -similarities[i]):
                if literal_iou(boxes[i], truth) >= least:
                    of_image[i] = True
                    break
        scores += similarities
        labels += of_image
    return literal_ranking(scores, labels, total) if total else (math.nan, 0)


scored = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), max_size=12)
box = st.sampled_from(BOXES)
embedding = st.tuples(*[st.integers(-2, 2)] * 2)  # small integers: many ties, exact dot products
detected = st.lists(st.tuples(box, embedding), max_size=4)


@pytest.mark.parametrize(
    ("scores", "positive", "ground_truths", "expected"),
    [
        ([3, 2, 1], [1, 1, 0], 2, 1),
        ([3, 2, 1], [1, 0, 1], 2, (1 + 2 / 3) / 2),
        ([1, 2, 3], [1, 0, 1], 2, (1 + 2 / 3) / 2),
        ([3, 2, 1], [1, 0, 1], 4, (1 + 2 / 3) / 4),
        ([3, 2, 1], [1, 0, 1], None, (1 + 2 / 3) / 2),
        ([5, 5, 5, 5], [1, 0, 1, 0], 2, 0.5),
        ([5, 4, 4], [1, 1, 0], 2, (1 + 2 / 3) / 2),
        ([1, 2], [0, 0], 3, 0),
        ([], [], 3, 0),
        ([], [], None, 0),
    ],
)
def test_average_precision_by_hand(scores, positive, ground_truths, expected) -> None:
    assert average_precision(np.array(scores, np.float32), np.array(positive, bool), ground_truths) == pytest.approx(
        expected
    )


@patient
@given(scored, st.integers(0, 3))
def test_average_precision_is_the_literal_one(results, missed) -> None:
    scores, labels = [s for s, _ in results], [p for _, p in results]
    total = sum(labels) + missed
    expected = literal_ranking(scores, labels, total)[0] if total else 0
    assert average_precision(np.array(scores), np.array(labels, bool), total) == pytest.approx(expected)


@patient
@given(scored.filter(lambda results: any(p for _, p in results)), st.integers(0, 3))
def test_average_precision_is_scikit_learns_times_the_recall_rate(results, missed) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    scores, labels = np.array([s for s, _ in results]), np.array([p for _, p in results])
    rate = labels.sum() / (labels.sum() + missed)
    expected = sklearn.average_precision_score(labels, scores) * rate
    assert average_precision(scores, labels, int(labels.sum()) + missed) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scores", "positive", "ground_truths", "message"),
    [
        ([1.0, math.nan], [1, 0], 1, "1 of 2 numbers in the scores are NaN or infinite, the first in row 1"),
        ([1.0, 2.0], [1], 1, r"shape \(2,\).*shape \(1,\)"),
        ([1.0, 2.0], [1, 1], 1, "2 true positives of 1 ground truths"),
    ],
)
def test_average_precision_refuses(scores, positive, ground_truths, message) -> None:
    with pytest.raises(MetricError, match=message):
        average_precision(np.array(scores), np.array(positive, bool), ground_truths)


A, NEAR_A, HALF_A, FAR = BOXES[0], BOXES[1], BOXES[2], BOXES[4]


@pytest.mark.parametrize(
    ("boxes", "scores", "truths", "ap", "recall", "matches"),
    [
        pytest.param([A], [0.9], [A], 1, 1, [0], id="found"),
        pytest.param([HALF_A], [0.9], [A], 1, 1, [0], id="exactly half"),
        pytest.param([], [], [A], 0, 0, [], id="nothing detected"),
        pytest.param([FAR], [0.9], [A], 0, 0, [-1], id="only a false positive"),
        pytest.param([A, NEAR_A], [0.5, 0.9], [A], 1, 1, [-1, 0], id="a duplicate: the better score is matched"),
        pytest.param([NEAR_A, FAR, A], [0.9, 0.8, 0.7], [A, FAR], 1, 1, [0, 1, -1], id="a duplicate counts against"),
        pytest.param([A, FAR], [0.9, 0.8], [FAR], 0.5, 1, [-1, 0], id="a false positive first"),
        pytest.param([A, FAR], [0.8, 0.8], [FAR], 0.5, 1, [-1, 0], id="a tie counts against"),
        pytest.param([A, NEAR_A], [0.9, 0.8], [A, NEAR_A, FAR], 2 / 3, 2 / 3, [0, 1], id="one missed"),
    ],
)
def test_detection_by_hand(boxes, scores, truths, ap, recall, matches) -> None:
    result = evaluate_detection([(np.array(boxes), np.array(scores))], [np.array(truths)])
    assert result.average_precision == pytest.approx(ap)
    assert result.recall == pytest.approx(recall)
    assert (result.true_positives, result.ground_truths) == (round(recall * len(truths)), len(truths))
    np.testing.assert_array_equal(result.matches[0], matches)


def test_detections_of_all_images_are_ranked_together() -> None:
    none = np.zeros((0, 4))
    result = evaluate_detection(
        [(np.array([A]), np.array([0.5])), (np.array([A]), np.array([0.9])), (none, np.zeros(0))],
        [np.array([A]), none, np.array([A])],
    )
    assert result.average_precision == pytest.approx(0.5 / 2)
    assert result.recall == 0.5


@patient
@given(
    st.lists(st.tuples(st.lists(st.tuples(box, st.integers(0, 3)), max_size=4), st.lists(box, max_size=3)), max_size=4)
)
def test_detection_is_the_literal_one(images) -> None:
    total = sum(len(truths) for _, truths in images)
    scores, labels = [], []
    for predictions, truths in images:
        free = list(truths)
        for predicted, score in sorted(predictions, key=lambda p: -p[1]):
            best = max(free, key=lambda truth: literal_iou(predicted, truth), default=None)
            hit = best is not None and literal_iou(predicted, best) >= 0.5
            if hit:
                free.remove(best)
            scores.append(score)
            labels.append(hit)
    arrays = [(np.array([b for b, _ in p]), np.array([s for _, s in p])) for p, _ in images]
    truths = [np.array(t) for _, t in images]
    if not total:
        with pytest.raises(MetricError, match="No ground truth"):
            evaluate_detection(arrays, truths)
        return
    result = evaluate_detection(arrays, truths)
    assert result.recall == pytest.approx(sum(labels) / total)
    assert result.average_precision == pytest.approx(literal_ranking(scores, labels, total)[0])


@pytest.mark.parametrize(
    ("predictions", "truths", "iou_threshold", "message"),
    [
        ([], [np.array([A])], 0.5, "0 images but ground truths of 1"),
        ([(np.array([A]), np.ones(2))], [np.array([A])], 0.5, r"1 boxes but scores of shape \(2,\)"),
        ([(np.array([A]), np.array([math.inf]))], [np.array([A])], 0.5, "scores of image 0 are NaN or infinite"),
        ([(np.array([[0, math.nan, 1, 1]]), np.ones(1))], [np.array([A])], 0.5, "detections of image 0 are NaN"),
        ([(np.zeros((1, 5)), np.ones(1))], [np.array([A])], 0.5, r"shape of the detections of image 0 is \(1, 5\)"),
        ([(np.array([A]), np.ones(1))], [np.array([A])], 0.0, "IoU threshold 0.0"),
        ([(np.array([A]), np.ones(1))], [np.array([A])], "oim", "IoU threshold 'oim'"),
    ],
)
def test_detection_refuses(predictions, truths, iou_threshold, message) -> None:
    with pytest.raises(MetricError, match=message):
        evaluate_detection(predictions, truths, iou_threshold=iou_threshold)


def test_mask_iou_by_hand() -> None:
    left, top, none = np.zeros((3, 4, 4), bool)
    left[:, :2], top[:2] = True, True
    assert mask_iou(left, left, empty=0) == 1
    assert mask_iou(left, top, empty=1) == pytest.approx(4 / 12)
    assert mask_iou(left, none, empty=1) == 0
    assert (mask_iou(none, none, empty=0), mask_iou(none, none, empty=1)) == (0, 1)
    with pytest.raises(MetricError, match=r"\(4, 4\) and \(2, 4\)"):
        mask_iou(left, left[:2], empty=0)


def test_masks_are_judged_over_true_positives() -> None:
    instances = np.zeros((4, 4), np.uint16)
    instances[:, :2], instances[:, 3] = 1, 2
    masks = np.stack([instances == 2, np.ones((4, 4), bool), instances == 0])
    result = evaluate_masks(iter([(masks, instances, np.array([1, 0, -1])), ([], instances, np.zeros(0, np.int32))]))
    np.testing.assert_allclose(result.ious, [1, 0.5])
    assert result.mean_iou == pytest.approx(0.75)
    assert math.isnan(evaluate_masks([(masks, instances, np.array([-1, -1, -1]))]).mean_iou)
    with pytest.raises(MetricError, match="3 masks but 1 matches"):
        evaluate_masks([(masks, instances, np.array([1]))])


def found(*people):
    """Detections of one image, from (box, similarity to the query [1, 0])."""
    return np.array([b for b, _ in people]), np.array([(similarity, 0) for _, similarity in people], np.float32)


TRUTH = np.array(A)
NOBODY = (np.zeros((0, 4)), np.zeros((0, 2)))


@pytest.mark.parametrize(
    ("gallery", "detections", "ap", "first_rank"),
    [
        pytest.param([("a", TRUTH)], {"a": found((A, 0.9))}, 1, 1, id="found"),
        pytest.param([("a", TRUTH)], {"a": found((A, 0.8), (FAR, 0.9))}, 0.5, 2, id="somebody else first"),
        pytest.param([("a", TRUTH)], {"a": found((A, 0.8), (NEAR_A, 0.9))}, 1, 1, id="two detections, better first"),
        pytest.param(
            [("a", TRUTH), ("b", TRUTH)],
            {"a": found((A, 0.8), (NEAR_A, 0.9)), "b": found((A, 0.7))},
            (1 + 2 / 3) / 2,
            1,
            id="the second detection of a person is a negative",
        ),
        pytest.param(
            [("a", TRUTH), ("b", TRUTH)], {"a": found((A, 0.9)), "b": NOBODY}, 0.5, 1, id="missed in one image"
        ),
        pytest.param([("a", TRUTH)], {"a": NOBODY}, 0, 0, id="no detections"),
        pytest.param([("a", TRUTH)], {"a": found((FAR, 0.9))}, 0, 0, id="only elsewhere"),
        pytest.param(
            [("a", TRUTH), ("b", None)], {"a": found((A, 0.9)), "b": found((A, 0.9))}, 0.5, 2, id="a tie counts against"
        ),
        pytest.param(
            [("a", TRUTH), ("b", TRUTH)], {"a": found((A, 0.9)), "b": found((A, 0.9))}, 1, 1, id="tied true positives"
        ),
        pytest.param(
            [("a", TRUTH), ("b", None)],
            {"a": found((A, 0.1)), "b": found((A, 0.3), (FAR, 0.2))},
            1 / 3,
            3,
            id="ranked over the gallery's images",
        ),
        pytest.param(
            [("a", TRUTH)],
            {"a": found((A, 0.1)), "own": found((A, 1.0))},
            1,
            1,
            id="images not listed are not searched",
        ),
        pytest.param(
            [("a", TRUTH), ("a", np.array(FAR))],
            {"a": found((A, 0.9), (FAR, 0.8))},
            (1 / 2 + 2 / 4) / 2,
            2,
            id="an image listed twice is searched twice",
        ),
    ],
)
def test_search_by_hand(gallery, detections, ap, first_rank) -> None:
    result = evaluate_search(np.array([[1, 0]]), [gallery], detections)
    assert result.mean_average_precision == result.average_precisions[0] == pytest.approx(ap)
    assert result.first_ranks[0] == first_rank
    assert [result.cmc(k) for k in (1, 2, 3)] == [0 < first_rank <= k for k in (1, 2, 3)]


def test_search_leaves_queries_without_ground_truth_out_of_the_means() -> None:
    galleries = [[("a", TRUTH)], [("a", None)], [], [("a", np.array(FAR))]]
    result = evaluate_search(np.array([[1, 0]] * 4), galleries, {"a": found((A, 0.9))})
    np.testing.assert_array_equal(result.average_precisions, [1, np.nan, np.nan, 0])
    np.testing.assert_array_equal(result.ground_truths, [1, 0, 0, 1])
    np.testing.assert_array_equal(result.found, [1, 0, 0, 0])
    assert result.counted == 2
    assert result.summary((1, 5)) == {"mAP": 0.5, "top-1": 0.5, "top-5": 0.5}


def test_the_published_code_is_kinder_to_small_people() -> None:
    small = (0, 0, 10, 20)  # 200 / (20 · 30) = 1/3
    gallery, detections = [("a", np.array(small))], {"a": found(((0, 0, 10, 8), 0.9))}
    query = np.array([[1, 0]])
    assert evaluate_search(query, [gallery], detections).cmc(1) == 0
    assert evaluate_search(query, [gallery], detections, iou_threshold="oim").cmc(1) == 1
    large = [("a", np.array((0, 0, 100, 200)))]  # 20000 / (110 · 210) > 0.5
    for height, hit in ((100, 1), (99, 0)):
        detections = {"a": found(((0, 0, 100, height), 0.9))}
        assert evaluate_search(query, [large], detections, iou_threshold="oim").cmc(1) == hit


@patient
@given(
    st.lists(detected, min_size=1, max_size=4),
    st.lists(
        st.tuples(embedding, st.lists(st.tuples(st.integers(0, 3), st.none() | box), max_size=5)),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from([0.5, 0.3, 1.0, "oim"]),
    st.sampled_from([1, 2**20]),
)
def test_search_is_the_literal_protocol(images, queries, iou_threshold, block) -> None:
    detections = {
        str(i): (np.array([b for b, _ in people]), np.array([e for _, e in people], np.float32))
        for i, people in enumerate(images)
    }
    galleries = [
        [(str(i % len(images)), None if b is None else np.array(b)) for i, b in gallery] for _, gallery in queries
    ]
    embeddings = np.array([e for e, _ in queries])
    expected = [
        literal_search(e, gallery, detections, iou_threshold) for e, gallery in zip(embeddings, galleries, strict=True)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "_BLOCK", block)
        if all(math.isnan(ap) for ap, _ in expected):
            with pytest.raises(MetricError, match="none has a gallery that shows its person"):
                evaluate_search(embeddings, galleries, detections, iou_threshold=iou_threshold)
            return
        result = evaluate_search(embeddings, galleries, detections, iou_threshold=iou_threshold)
    np.testing.assert_allclose(result.average_precisions, [ap for ap, _ in expected], atol=1e-12)
    np.testing.assert_array_equal(result.first_ranks, [rank for _, rank in expected])


NAN = (np.array([A]), np.array([[math.nan, 0]]))


@pytest.mark.parametrize(
    ("queries", "galleries", "detections", "iou_threshold", "message"),
    [
        ([[1, 0]], [[("a", TRUTH)]], {"a": NAN}, 0.5, "the embeddings of a are NaN"),
        ([[math.nan, 0]], [[("a", TRUTH)]], {"a": NOBODY}, 0.5, "the query embeddings are NaN"),
        ([[1, 0]], [[("b", TRUTH)]], {"a": NOBODY}, 0.5, "Gallery image 'b' of query 0 has no entry"),
        ([[1, 0]], [], {"a": NOBODY}, 0.5, "1 query embeddings but 0 galleries"),
        ([[1, 0]], [[("a", TRUTH)]], {"a": (np.array([A]), np.zeros((2, 2)))}, 0.5, "a has 1 boxes but 2 embeddings"),
        ([[1, 0]], [[("a", TRUTH)]], {"a": (np.array([A]), np.zeros((1, 3)))}, 0.5, r"of a is \(1, 3\).*\[N, 2\]"),
        ([[1, 0]], [[("a", TRUTH)]], {"a": NOBODY}, 1.5, "IoU threshold 1.5"),
        ([[1, 0]], [[("a", TRUTH)]], {"a": NOBODY}, "OIM", "IoU threshold 'OIM'"),
        ([[1, 0]], [[]], {}, 0.5, "Of 1 queries, none has a gallery that shows its person"),
        (np.zeros((0, 2)), [], {"a": NOBODY}, 0.5, "Of 0 queries"),
        ([1, 0], [[("a", TRUTH)]], {"a": NOBODY}, 0.5, r"shape of the query embeddings is \(2,\)"),
    ],
)
def test_search_refuses(queries, galleries, detections, iou_threshold, message) -> None:
    with pytest.raises(MetricError, match=message):
        evaluate_search(np.array(queries), galleries, detections, iou_threshold=iou_threshold)


def test_reid_ignores_the_same_camera_and_junk() -> None:
    #                     same camera   junk    other person   match   other person   match
    similarity = np.array([[1.0, 0], [0.9, 0], [0.8, 0], [0.7, 0], [0.6, 0], [0.5, 0]])
    identities = np.array([7, -1, 3, 7, 4, 7])
    cameras = np.array([1, 2, 1, 2, 2, 3])
    query = {"query_embeddings": np.array([[1, 0]]), "query_identities": np.array([7])}
    gallery = {"gallery_embeddings": similarity, "gallery_identities": identities}
    result = evaluate_reid(**query, **gallery, query_cameras=np.array([1]), gallery_cameras=cameras)
    assert result.mean_average_precision == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert (result.first_ranks[0], result.ground_truths[0]) == (2, 2)
    for unknown in ({}, {"query_cameras": np.array([-1]), "gallery_cameras": cameras}):
        everything = evaluate_reid(**query, **gallery, **unknown)
        assert everything.mean_average_precision == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)


@patient
@given(
    st.lists(st.tuples(embedding, st.integers(0, 2), st.integers(-1, 2)), min_size=1, max_size=4),
    st.lists(st.tuples(embedding, st.integers(-1, 2), st.integers(-1, 2)), min_size=1, max_size=8),
)
def test_reid_is_the_literal_protocol(queries, gallery) -> None:
    expected = []
    for e, identity, camera in queries:
        kept = [g for g in gallery if g[1] != -1 and not (camera != -1 and g[1:] == (identity, camera))]
        labels = [g[1] == identity for g in kept]
        scores = [float(np.dot(e, g[0])) for g in kept]
        expected.append(literal_ranking(scores, labels, sum(labels)) if any(labels) else (math.nan, 0))
    query, of_gallery = ([np.array(column) for column in zip(*rows, strict=True)] for rows in (queries, gallery))
    cameras = {"query_cameras": query[2], "gallery_cameras": of_gallery[2]}
    if all(math.isnan(ap) for ap, _ in expected):
        with pytest.raises(MetricError, match="none has its identity"):
            evaluate_reid(*query[:2], *of_gallery[:2], **cameras)
        return
    result = evaluate_reid(*query[:2], *of_gallery[:2], **cameras)
    np.testing.assert_allclose(result.average_precisions, [ap for ap, _ in expected], atol=1e-12)
    np.testing.assert_array_equal(result.first_ranks, [rank for _, rank in expected])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_embeddings": np.array([[math.inf, 0]])}, "query embeddings are NaN or infinite"),
        ({"gallery_embeddings": np.zeros((2, 3))}, r"gallery embeddings is \(2, 3\)"),
        ({"gallery_identities": np.array([1])}, r"2 embeddings but gallery identities of shape \(1,\)"),
        ({"query_cameras": np.array([1])}, "Only one of query and gallery has cameras"),
        ({"query_identities": np.array([9])}, "none has its identity in what remains"),
        ({"gallery_embeddings": np.zeros((0, 2)), "gallery_identities": np.zeros(0)}, "none has its identity"),
    ],
)
def test_reid_refuses(change, message) -> None:
    good = {
        "query_embeddings": np.array([[1, 0]]),
        "query_identities": np.array([1]),
        "gallery_embeddings": np.zeros((2, 2)),
        "gallery_identities": np.array([1, 2]),
    }
    with pytest.raises(MetricError, match=message):
        evaluate_reid(**(good | change))
