"""Files of ensembles: what is wrong is refused before it is unpacked."""

import io
import json
import tracemalloc
import zipfile

import numpy as np
import pytest

import treeinf as ti
from tests import models
from treeinf.errors import ModelFormatError


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Give the arrays of a file, its header and a folder to write others to."""
    folder = tmp_path_factory.mktemp("saved")
    ti.read_model(models.fit("binary_weighted")[0]).save(folder / "model.npz")
    with np.load(folder / "model.npz") as file:
        arrays = dict(file)
    header = json.loads(arrays.pop("header").tobytes())
    return folder, arrays, header


def write(folder, arrays, header):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "other.npz"
    np.savez_compressed(path, **arrays, header=np.frombuffer(text, np.uint8))
    return path


ARRAYS = {
    "a matrix of features": lambda a: {"feature": a["feature"][:, np.newaxis]},
    "no features": lambda a: {"feature": None},
    "leaf values in a vector": lambda a: {"leaf_value": a["leaf_value"][:, 0]},
    "no leaf values": lambda a: {"leaf_value": a["leaf_value"][:, :0]},
    "one number for all trees": lambda a: {"iteration": np.int32(3)},
    "a shorter array": lambda a: {"threshold": a["threshold"][:-1]},
    "an array too many": lambda a: {"unknown": np.zeros(3)},
    "objects": lambda a: {"threshold": a["threshold"].astype(object)},
    "strings": lambda a: {"threshold": a["threshold"].astype(str)},
    "complex numbers": lambda a: {"threshold": a["threshold"].astype(complex)},
    "dates": lambda a: {"left": a["left"].astype("datetime64[s]")},
    "records": lambda a: {"left": np.zeros(len(a["left"]), [("a", "i4")])},
    "numbers that do not fit": lambda a: {"left": a["left"].astype(np.int64) * 2**40},
    "features out of range": lambda a: {"feature": a["feature"] + 99},
    "a child that is its own parent": lambda a: {"left": a["left"] * 0},
    "thresholds that are no numbers": lambda a: {"threshold": a["threshold"] * np.nan},
    "infinite leaf values": lambda a: {"leaf_value": a["leaf_value"] + np.inf},
    "negative counts": lambda a: {"leaf_count": -a["leaf_count"] - 1},
    "offsets that fall": lambda a: {"node_offset": a["node_offset"][::-1]},
    "a base score for nothing": lambda a: {"base_score": a["base_score"][:0]},
    "outputs out of range": lambda a: {"output": a["output"] + 7},
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_wrong_arrays_are_refused(saved, kind):
    folder, arrays, header = saved
    changed = {**arrays, **ARRAYS[kind](arrays)}
    kept = {name: array for name, array in changed.items() if array is not None}
    with pytest.raises(ModelFormatError):
        ti.read_model(write(folder, kept, header))


HEADERS = {
    "no dictionary": lambda h: [],
    "not JSON": lambda h: b"{",
    "deep": lambda h: b"[" * 100_000,
    "a number of many digits": lambda h: b'{"version": ' + b"9" * 9999 + b"}",
    "another format": lambda h: {**h, "format": "other"},
    "a later version": lambda h: {**h, "version": 99},
    "a field too many": lambda h: {**h, "unknown": 1},
    "library: a list": lambda h: {**h, "library": [1]},
    "library_version: None": lambda h: {**h, "library_version": None},
    "loss_name: a number": lambda h: {**h, "loss_name": 3},
    "initial_model: a number": lambda h: {**h, "initial_model": 3},
    "is_averaged: a word": lambda h: {**h, "is_averaged": "no"},
    "is_native: a number": lambda h: {**h, "is_native": 2},
    "loss: unknown": lambda h: {**h, "loss": {"name": "other"}},
    "loss: a list": lambda h: {**h, "loss": [1]},
    "loss: a name that is a list": lambda h: {**h, "loss": {"name": []}},
    "loss: of more outputs": lambda h: {**h, "loss": {"name": "Softmax", "classes": 9}},
    "loss: a parameter that is a word": lambda h: {
        **h,
        "loss": {"name": "Logistic", "scale": "1"},
    },
    "classes: one number": lambda h: {**h, "classes": {"kind": "i", "labels": 3}},
    "classes: too many": lambda h: {**h, "classes": {"kind": "i", "labels": [1, 2, 3]}},
    "classes: nested": lambda h: {**h, "classes": {"kind": "i", "labels": [[1], [2]]}},
    "classes: no kind": lambda h: {**h, "classes": {"labels": [0, 1]}},
}
HEADERS |= {
    f"{record}: {name}": lambda h, record=record, name=name, value=value: {
        **h,
        record: {**h[record], name: value},
    }
    for record, name, value in (
        ("leaf_rule", "kind", "other"),
        ("leaf_rule", "kind", []),
        ("leaf_rule", "l1_leaf", [1]),
        ("leaf_rule", "l1_leaf", float("nan")),
        ("leaf_rule", "n_steps", 1.5),
        ("leaf_rule", "backtracks", "yes"),
        ("leaf_rule", "unknown", 1),
        ("training", "approximations", 3),
        ("training", "approximations", [3]),
        ("training", "class_weight", [[1, 2, 3]]),
        ("training", "class_weight", [[1, "heavy"]]),
        ("training", "positive_weight", {}),
        ("training", "single_precision", 1),
        ("training", "subsample", 0.5),
        ("input_rules", "n_features", 0),
        ("input_rules", "n_features", "6"),
        ("input_rules", "feature_names", ["a"]),
        ("input_rules", "categories", [[{}]] * 6),
        ("input_rules", "missing_value", {}),
    )
}


@pytest.mark.parametrize("kind", HEADERS)
def test_wrong_headers_are_refused(saved, kind):
    folder, arrays, header = saved
    with pytest.raises(ModelFormatError):
        ti.read_model(write(folder, arrays, HEADERS[kind](header)))


def claim(shape, dtype="<f8"):
    """Write the head of an npy file that claims a shape."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return head.getvalue()


N_LARGE = 5 * 2**20
MEMBERS = {
    "an unknown member": ("other.npy", claim((N_LARGE,)), N_LARGE * 8),
    "a member in a folder": ("/threshold.npy", claim((N_LARGE,)), N_LARGE * 8),
    "a member elsewhere": ("../threshold.npy", claim((N_LARGE,)), N_LARGE * 8),
    "another thing than an array": ("threshold.txt", b"", 0),
    "a second member": ("left.npy", claim((3,), "<i4"), 12),
    "a pickle": ("threshold.npy", b"\x80\x04cos\nsystem\n(S'true'\ntR.", 0),
    "nothing behind the head": ("threshold.npy", claim((N_LARGE,)), 0),
    "a negative size": ("threshold.npy", claim((-5,)), 0),
    "a size beyond all numbers": ("threshold.npy", claim((2**62, 2**62)), 0),
    "objects": ("threshold.npy", claim((3,), "|O"), 24),
    "numbers without a width": ("threshold.npy", claim((3,), "|V0"), 0),
    "far more than there are nodes": (
        "threshold.npy",
        claim((N_LARGE,)),
        N_LARGE * 8,
    ),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize("kind", MEMBERS)
def test_what_a_member_claims_is_checked_before_it_is_unpacked(saved, kind, packing):
    folder = saved[0]
    added, head, n_zeros = MEMBERS[kind]
    if packing == zipfile.ZIP_BZIP2 and n_zeros < N_LARGE:
        pytest.skip("it is small, however it is packed")
    path = folder / "bomb.npz"
    with (
        zipfile.ZipFile(folder / "model.npz") as file,
        zipfile.ZipFile(path, "w", packing, compresslevel=1) as bomb,
    ):
        for name in file.namelist():
            if name != added or kind == "a second member":
                bomb.writestr(name, file.read(name))
        with bomb.open(added, "w") as member:
            member.write(head)
            for first in range(0, n_zeros, 2**22):
                member.write(bytes(min(2**22, n_zeros - first)))
    tracemalloc.start()
    try:
        with pytest.raises(ModelFormatError):
            ti.read_model(path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()
