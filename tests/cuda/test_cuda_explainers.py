"""Explainers on CUDA agree with those on the CPU; without a library of models."""

import copy
import functools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

import treeinf as ti
from treeinf.adapters.row_sampling import RecoveredBags
from treeinf.ensemble import InputRules, LeafRule
from treeinf.ensemble.bags import Bags
from treeinf.ensemble.losses import Logistic, Softmax, SquaredError
from treeinf.errors import DeviceMemoryError, DeviceUnavailableError
from treeinf.kernels import device as devices
from treeinf.trace import TrainingTrace

pytestmark = pytest.mark.cuda

N_TRAIN, N_TEST = 18, 4
TOLERANCE = 1e-12
"""Largest difference, in the largest number: both sides add up in float64, in another
order, and their exponentials differ in the last place."""

MAKE = {
    "BoostIn": ti.BoostIn,
    "LeafInfluence": ti.LeafInfluence,
    "LeafInfluence, single point": functools.partial(
        ti.LeafInfluence, propagation="single_point"
    ),
    "TargetInfluence": ti.TargetInfluence,
    "Trex": functools.partial(ti.Trex, l2=1.0),
    "Trex, paths": functools.partial(ti.Trex, kernel="feature_path", l2=1.0),
}
LOSS = {
    "regression": (SquaredError(), 1, 1),
    "binary": (Logistic(), 1, 1),
    "multiclass": (Softmax(3, 2.0), 3, 1),
    "vector leaves": (Softmax(3, 1.0), 3, 3),
}


@functools.cache
def make_model(recipe):
    """Stumps of two splits a tree; gives (ensemble, X, y, X_test, y_test)."""
    loss, n_outputs, width = LOSS[recipe]
    rng = np.random.default_rng(len(recipe))
    per_iteration = 1 if width > 1 else n_outputs
    n_trees = 3 * per_iteration
    X = rng.normal(size=(N_TRAIN + N_TEST, 3))
    y = X[:, 0] + rng.normal(size=len(X))
    classes = None
    if loss.n_classes:
        y = np.digitize(y, [0.0] if loss.n_classes == 2 else [-0.5, 0.5])
        classes = np.arange(loss.n_classes)
    ensemble = ti.TreeEnsemble(
        node_offset=np.arange(n_trees + 1) * 2,
        leaf_offset=np.arange(n_trees + 1) * 3,
        iteration=np.repeat(np.arange(3), per_iteration),
        output=np.full(n_trees, -1) if width > 1 else np.tile(np.arange(n_outputs), 3),
        shrinkage=np.full(n_trees, 0.3),
        feature=rng.integers(0, 3, 2 * n_trees),
        threshold=rng.normal(size=2 * n_trees) / 2,
        left=np.tile([1, ~0], n_trees),
        right=np.tile([~2, ~1], n_trees),
        default_left=np.zeros(2 * n_trees, bool),
        missing=np.zeros(2 * n_trees, np.uint8),
        is_categorical=np.zeros(2 * n_trees, bool),
        category_offset=np.zeros(2 * n_trees + 1, int),
        category_bits=np.zeros(0, np.uint32),
        leaf_value=rng.normal(size=(3 * n_trees, width)),
        base_score=np.zeros(n_outputs),
        base_score_folded=np.zeros(n_outputs),
        input_rules=InputRules(3),
        loss=loss,
        loss_name=recipe,
        leaf_rule=LeafRule("full newton" if width > 1 else "newton"),
        leaf_l2=np.ones(3 * n_trees),
        classes=classes,
    )
    return ensemble, X[:N_TRAIN], y[:N_TRAIN], X[N_TRAIN:], y[N_TRAIN:]


@functools.cache
def fit(name, recipe, device, **more):
    ensemble, X, y, *_ = make_model(recipe)
    explainer = MAKE[name](device=device, **more)
    if "on_mismatch" in explainer.get_params():
        explainer.set_params(on_mismatch="ignore")
    weight = np.linspace(0.5, 2.0, N_TRAIN)
    return explainer.fit(ensemble, X, y, sample_weight=weight)


def assert_agree(name, actual, desired):
    scale = np.abs(desired).max()
    assert scale > 0.0
    # Trex is as exact as its solution
    tolerance = 1e-7 if name.startswith("Trex") else TOLERANCE
    assert_allclose(actual, desired, rtol=0, atol=tolerance * scale)


CASES = [
    (name, recipe)
    for name in MAKE
    for recipe in LOSS
    if name not in ("TargetInfluence", "Trex, paths") or LOSS[recipe][1] == 1
]


@pytest.mark.parametrize(("name", "recipe"), CASES)
def test_cuda_agrees_with_the_cpu(name, recipe):
    *_, X_test, y_test = make_model(recipe)
    cpu, cuda = fit(name, recipe, "cpu"), fit(name, recipe, "cuda")
    assert (cpu.device_, cuda.device_) == ("cpu", "cuda")
    for what in ("explain", "total"):
        desired = getattr(cpu, what)(X_test, y_test).values
        assert_agree(name, getattr(cuda, what)(X_test, y_test).values, desired)
    assert_agree(name, cuda.self_influence().values, cpu.self_influence().values)


@pytest.mark.parametrize("name", ["BoostIn", "LeafInfluence", "Trex"])
def test_the_top_rows_and_other_labels_agree(name):
    _, _, _, X_test, y_test = make_model("binary")
    cpu, cuda = fit(name, "binary", "cpu"), fit(name, "binary", "cuda")
    desired = cpu.top_k(X_test, y_test, k=3)
    actual = cuda.top_k(X_test, y_test, k=3)
    assert_array_equal(actual.positions, desired.positions)
    assert_agree(name, actual.values, desired.values)
    if name != "Trex":
        desired = cpu.relabel(X_test, y_test).values
        assert_agree(name, cuda.relabel(X_test, y_test).values, desired)


@pytest.mark.parametrize("name", ["BoostIn", "LeafInfluence"])
def test_of_the_top_rows_only_the_lists_come_back(name):
    _, _, _, X_test, y_test = make_model("multiclass")
    explainer = fit(name, "multiclass", "cuda", batch_size=7)
    came = []
    get = explainer._device.get

    def count(value):
        came.append(value.shape)
        return get(value)

    object.__setattr__(explainer._device, "get", count)
    actual = explainer.top_k(X_test, y_test, k=3)
    object.__setattr__(explainer._device, "get", get)
    assert came.count((N_TEST, 3)) == 2
    assert not {(7, N_TEST), (N_TRAIN % 7, N_TEST)} & set(came)
    desired = fit(name, "multiclass", "cpu").top_k(X_test, y_test, k=3)
    assert_array_equal(actual.positions, desired.positions)
    assert_agree(name, actual.values, desired.values)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_single_precision_keeps_its_bound(device):
    ensemble, _, _, X_test, y_test = make_model("binary")
    exact = fit("LeafInfluence", "binary", "cpu")
    single = fit("LeafInfluence", "binary", device, precision="float32")
    error = np.abs(
        single.explain(X_test, y_test).values - exact.explain(X_test, y_test).values
    )
    queries = exact._read_queries(X_test, y_test, "loss", None, None)
    leaf_factor = np.abs(exact._columns(queries).factor[:, 0])
    number = ensemble.leaf_offset[:-1] + exact.trace_.rows.leaf.T
    [batch] = exact._rows.staged(0, N_TRAIN)
    sizes = np.einsum("it,itj->ij", np.abs(batch.factor), leaf_factor[number])
    assert error.max() > 0.0
    assert (error <= 1.8e-7 * sizes).all()
    total = single.total(X_test, y_test).values
    assert_agree("LeafInfluence", total, exact.total(X_test, y_test).values)


def test_single_precision_of_shared_leaves():
    *_, X_test, y_test = make_model("binary")
    desired = fit("BoostIn", "binary", "cpu").explain(X_test, y_test).values
    single = fit("BoostIn", "binary", "cuda", precision="float32")
    actual = single.explain(X_test, y_test).values
    assert_allclose(actual, desired, rtol=0, atol=1e-6 * np.abs(desired).max())
    assert (actual != desired).any()
    with pytest.raises(ValueError, match="precision='half'"):
        ti.BoostIn(precision="half").fit(None, None, None)


@pytest.mark.parametrize("name", ["BoostIn", "LeafInfluence", "Trex"])
def test_every_run_gives_the_same_bits(name):
    *_, X_test, y_test = make_model("binary")
    results = []
    for _ in range(2):
        fit.cache_clear()
        results.append(fit(name, "binary", "cuda").total(X_test, y_test).values)
    assert_array_equal(results[0], results[1])


@pytest.mark.parametrize("name", ["BoostIn", "LeafInfluence", "Trex"])
def test_rows_that_do_not_fit_come_in_blocks(name, monkeypatch):
    *_, X_test, y_test = make_model("multiclass")
    explainer = fit(name, "multiclass", "cpu")
    desired = [
        explainer.explain(X_test, y_test).values,
        explainer.total(X_test, y_test).values,
    ]
    sizes = []

    def seven_rows(device, n_rows, row_bytes, fixed_bytes=0):
        sizes.append(n_rows)
        return n_rows if device.is_cpu else min(n_rows, 7)

    monkeypatch.setattr(devices.Device, "rows_at_once", seven_rows)
    fit.cache_clear()
    explainer = fit(name, "multiclass", "cuda")
    assert_agree(name, explainer.explain(X_test, y_test).values, desired[0])
    assert_agree(name, explainer.total(X_test, y_test).values, desired[1])
    assert N_TRAIN in sizes
    fit.cache_clear()


@pytest.mark.parametrize("in_blocks", [False, True])
@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        *(("LeafInfluence", recipe) for recipe in LOSS),
        ("BoostIn", "multiclass"),
        ("LeafInfluence, single point", "binary"),
        ("TargetInfluence", "binary"),
    ],
)
def test_trees_of_bagged_rows_agree(name, recipe, in_blocks, monkeypatch):
    ensemble, _, _, X_test, y_test = make_model(recipe)
    rng = np.random.default_rng(3)
    bags = rng.random((ensemble.n_trees, N_TRAIN)) < 0.6
    factors = bags * rng.uniform(1.0, 3.0, bags.shape).astype(np.float32)
    bags = Bags.from_rows(
        N_TRAIN, list(factors if in_blocks else bags), np.arange(ensemble.n_trees)
    )
    found = RecoveredBags(bags, np.ones(ensemble.n_trees, bool), "drawn")

    def replay(cls, source, rows, device, search_seed):
        return cls._replay(source, rows, device, found)

    def seven_rows(device, n_rows, row_bytes, fixed_bytes=0):
        return min(n_rows, 7) if in_blocks and not device.is_cpu else n_rows

    monkeypatch.setattr(TrainingTrace, "_replay_bags", classmethod(replay))
    monkeypatch.setattr(devices.Device, "rows_at_once", seven_rows)
    cpu, cuda = (fit.__wrapped__(name, recipe, device) for device in ("cpu", "cuda"))
    desired = cpu.explain(X_test, y_test).values
    assert cuda.trace_.rows.bags is bags
    assert_agree(name, cuda.explain(X_test, y_test).values, desired)
    desired = cpu.total(X_test, y_test).values
    assert_agree(name, cuda.total(X_test, y_test).values, desired)


def test_rows_are_moved_once(monkeypatch):
    *_, X_test, y_test = make_model("binary")
    explainer = fit("LeafInfluence", "binary", "cuda")
    explainer.total(X_test, y_test)
    moved = []
    put = explainer._device.put

    def count(value):
        moved.append(getattr(value, "size", 0))
        return put(value)

    object.__setattr__(explainer._device, "put", count)
    explainer.total(X_test, y_test)
    object.__setattr__(explainer._device, "put", put)
    assert max(moved) < N_TRAIN * 2


def test_auto_takes_cuda_where_it_is_and_the_cpu_elsewhere(monkeypatch):
    assert devices.resolve_device("auto").name == "cuda"

    def no_cuda():
        raise DeviceUnavailableError("device='cuda': nothing there.")

    monkeypatch.setattr(devices, "_open_cuda", no_cuda)
    assert devices.resolve_device("auto").name == "cpu"
    ensemble, X, y, *_ = make_model("binary")
    with pytest.raises(DeviceUnavailableError, match="nothing there"):
        ti.BoostIn(device="cuda", on_mismatch="ignore").fit(ensemble, X, y)
    with pytest.raises(ValueError, match=r"device='gpu'.*'cpu', 'cuda', 'auto'"):
        ti.BoostIn(device="gpu").fit(ensemble, X, y)


def test_no_room_says_what_would_fit():
    device = devices.Device("cuda", memory=lambda: (2**20, 2**30))
    assert device.rows_at_once(10**9, 100) == int(0.9 * 2**20) // 100
    assert device.rows_at_once(50, 100) == 50
    with pytest.raises(DeviceMemoryError, match="1 MiB free of 1,024 MiB"):
        device.rows_at_once(10**9, 10_000)


def test_fitted_explainers_are_copied_and_cloned():
    *_, X_test, y_test = make_model("binary")
    explainer = fit("BoostIn", "binary", "cuda")
    desired = explainer.total(X_test, y_test).values
    again = copy.deepcopy(explainer)
    assert_array_equal(again.total(X_test, y_test).values, desired)
    assert clone(explainer).device == "cuda"
