"""Find the format of a model file by its content, and parse it."""

from __future__ import annotations

import codecs
import importlib
import json
import re
from collections.abc import Mapping
from typing import Any, cast

from treeinf.adapters.lookup import SUPPORTED, Adapter
from treeinf.errors import ModelFormatError, UnsupportedModelError

__all__ = ["ZIP", "parse", "parse_dictionary"]

ZIP = b"PK\x03\x04"
"""First bytes of a zip file, which is what `TreeEnsemble.save` writes."""

_CBM = b"CBM1"
_LIGHTGBM = b"tree"
_UBJSON_MARKERS = frozenset(b"iUIulmLM#$")
"""What follows the brace of a UBJSON object: the type of a length, or an option."""

_SAVE_XGBOOST = "save it again with booster.save_model('model.json')"
_OLD_XGBOOST = (
    "an XGBoost model in the old binary form. Load it with an XGBoost from 1.0 to 3.0 "
    f"(pip install 'xgboost<3.1') and {_SAVE_XGBOOST}"
)
_DUMP = (
    "a list of trees, such as XGBoost's dump, which leaves out the base score. Load "
    f"the model itself and {_SAVE_XGBOOST}"
)
_UNREADABLE = {
    b"\x80": (
        "a pickle (joblib writes them too), which can run code when it is opened. If "
        "you trust it, load it yourself and pass the model, or save the model with "
        "booster.save_model(path)"
    ),
    b"x\x9c": "compressed with zlib, as joblib does; load it and pass the model",
    b"binf": _OLD_XGBOOST,
    b"bs64": _OLD_XGBOOST,
    b"[{": _DUMP,
    b"[\n": _DUMP,
    b"booster[": _DUMP,
    b"<": (
        "XML or HTML, such as PMML, which does not hold what training needs. Pass the "
        "fitted model or the file that its own library writes"
    ),
    b"\x08": (
        "ONNX, it seems, which does not hold what training needs. Pass the fitted "
        "model or the file that its own library writes"
    ),
    b"\x89HDF": "an HDF5 file, not a tree ensemble",
    b"RDX": "a file of R; save the model with xgb.save or lgb.save there",
    b"version https://git-lfs": "a pointer of Git LFS; run git lfs pull",
    ZIP: "a zip file; pass the path of a file that TreeEnsemble.save wrote",
    b"\x1f\x8b": "compressed with gzip; unpack it first",
    b"BZh": "compressed with bzip2; unpack it first",
    b"\xfd7zXZ": "compressed with xz; unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it first",
}
"""First bytes of known but unsupported files, and a description of each."""


def parse(content: bytes, source: str) -> tuple[Adapter, Any]:
    """Parse the content of a model file.

    Parameters
    ----------
    content : bytes
        The whole file.
    source : str
        Name of the content, for error messages.

    Returns
    -------
    adapter : Adapter
        The library's reader.
    file : LightGBMFile, XGBoostFile or CatBoostFile
        What the reader's ``read_file`` takes.

    Raises
    ------
    ModelFormatError
        If the content is not a valid model.
    UnsupportedModelError
        If it is a file of a known kind that is not supported.
    """
    content = content.removeprefix(codecs.BOM_UTF8)
    kind = _name_unreadable(content)
    if kind is not None:
        raise UnsupportedModelError(f"{source} is {kind}. {SUPPORTED}")
    if not content.strip():
        raise ModelFormatError(f"{source} is empty.")
    if content.startswith(_CBM):
        return _parse_with("catboost", "binary", content)
    if content[:1] == b"{" and content[1:2] and content[1] in _UBJSON_MARKERS:
        return _parse_with("xgboost", "ubjson", content)
    if content.lstrip()[:1] == b"{":
        try:
            dictionary = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ModelFormatError(
                f"{source} starts like JSON but is not valid: {error}"
            ) from error
        return parse_dictionary(dictionary, source)
    if content.split(None, 1)[0] != _LIGHTGBM:
        raise ModelFormatError(f"{source} is not a supported model file. {SUPPORTED}")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ModelFormatError(f"{source} is not valid model text: {error}") from error
    return _parse_with("lightgbm", "text", text)


def _name_unreadable(content: bytes) -> str | None:
    """Describe a file of a known but unsupported kind; None for any other."""
    for start, kind in _UNREADABLE.items():
        if content.startswith(start):
            return kind
    # before 1.0: 136 bytes of numbers, then the objective with its length
    objective = content[144:][: int.from_bytes(content[136:144], "little")]
    if len(objective) <= 64 and re.fullmatch(rb"[a-z]+:[a-z0-9_]+", objective):
        return _OLD_XGBOOST
    return None


def parse_dictionary(model: Mapping[str, Any], source: str) -> tuple[Adapter, Any]:
    """Parse what a JSON model file or LightGBM's ``dump_model`` holds; see `parse`."""
    if "learner" in model:
        return _parse_with("xgboost", "json", model)
    if "oblivious_trees" in model or ("features_info" in model and "trees" in model):
        return _parse_with("catboost", "json", model)
    if "tree_info" not in model:
        raise ModelFormatError(
            f"{source} is no model in JSON that is supported: there is no tree_info, "
            f"learner or oblivious_trees. {SUPPORTED}"
        )
    return _parse_with("lightgbm", "json", model)


def _parse_with(library: str, parser: str, content: Any) -> tuple[Adapter, Any]:
    """Parse with ``treeinf.adapters.<library>.<parser>``; import the reader too."""
    folder = f"treeinf.adapters.{library}"
    file = importlib.import_module(f"{folder}.{parser}").parse(content)
    return cast(Adapter, importlib.import_module(f"{folder}.reader")), file
