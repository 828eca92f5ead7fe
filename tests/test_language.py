"""The field's English: words that the package does not use, with the word to use.

Works on the source alone. ``python tests/test_language.py [PATH ...]`` lists what is
left below each path: Python files whole, and the prose of Markdown.
"""

import ast
import io
import re
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "treeinf"

# A pattern over single words of a name (snake_case and CamelCase taken apart), the word
# to use, and the folders or files where the word is the field's own.
NAMES = [
    (r"lanes?", "SIMD lanes, removal batch or accumulators", ("kernels/simd.py",)),
    (r"bend|bends|bent", "third derivative", ()),
    (r"pulls?|pulled", "adjoint seed or leaf response", ()),
    (r"carried|carries", "propagated", ()),
    (r"crossed", "cross-class", ()),
    (r"responds?", "derivative with respect to", ()),
    (r"rehearsals?|rehearse", "trial", ()),
    (r"judges?|chooser|choosers", "selection set or guard set", ()),
    (r"picked", "selected", ()),
    (r"consensus", "stacking", ()),
    (r"views", "base models", ()),
    (r"touched", "changed", ()),
    (r"repairs?|handling", "action", ()),
    (r"rooms?", "buffer (memory) or module", ()),
    (
        r"blocks?",
        "batch (rows) or tile (memory)",
        ("kernels/cuda", "kernels/device.py"),
    ),
    (r"parts?", "batch (rows) or tile (memory)", ()),
]
# Whole names, and names that hold the words next to each other.
WHOLE_NAMES = [
    (r"found|own|place|given|known|wanted|said|told|one|says", "a noun for what it is"),
    (r"\w*leaf_matri\w*|LeafMatri\w*", "leaf coupling or inverse leaf hessian"),
    (r"\w*(base|start|initial_score)_change\w*", "base score gradient"),
    (r"\w*bad_share\w*|\w*BadShare\w*", "noise rate"),
    (r"Targets|\w*own_targets|n_targets|first_target", "queries"),
]
# Over docstrings, comments and messages.
PROSE = [
    (r"\b(a|one) unit more of\b", "the derivative with respect to"),
    (r"\banswers? to\b|\bresponds? to\b", "the derivative with respect to"),
    (r"\bvouch(es)?\b", "is scored by a model that has seen it"),
    (r"\bbad share\b", "noise rate"),
    (r"\bconsensus\b", "stacking"),
    (r"\brehears\w+", "trial"),
    (r"\brooms?\b", "buffer (memory) or module"),
    (r"\bchoosers?\b|\bjudges\b", "selection set, guard set"),
    (r"\bbend(s|ing)?\b|\bbent\b", "third derivative"),
    (r"\bleaf matri(x|ces)\b|\bmatrix between leaves\b", "leaf coupling"),
    (r"\brepair(s|ed|ing)?\b", "action"),
    (r"\btouched\b", "changed"),
]
OPENINGS = (
    r"(Give|Gives|Tell|Tells|Say|Says)\b",
    "Return (of values), Report or Describe (of text)",
)

CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def _words(name: str) -> list[str]:
    return [word.lower() for word in CAMEL.findall(name)]


def _defined_names(tree: ast.AST):
    """Names that the source gives: not attributes and keywords of other libraries."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


def _prose(source: str):
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string, token.start[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, node.lineno


def find_private_words(path: str, source: str) -> list[str]:
    """List each word of our own in a source file, with the word to use."""
    complaints = []
    tree = ast.parse(source)
    for name, line in _defined_names(tree):
        for pattern, use, allowed in NAMES:
            if any(path.startswith(place) for place in allowed):
                continue
            complaints += [
                f"{path}:{line} {name}: not {word!r} but {use}"
                for word in _words(name)
                if re.fullmatch(pattern, word)
            ]
        for pattern, use in WHOLE_NAMES:
            if re.fullmatch(pattern, name):
                complaints.append(f"{path}:{line} {name}: use {use}")
    complaints += _private_prose(path, ((line, text) for text, line in _prose(source)))
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)):
            opening = re.match(OPENINGS[0], ast.get_docstring(node) or "")
            if opening:
                line = getattr(node, "lineno", 1)
                complaints.append(f"{path}:{line} {opening[0]!r}: use {OPENINGS[1]}")
    return complaints


def _private_prose(path, lines):
    return [
        f"{path}:{line} {match[0]!r}: use {use}"
        for line, text in lines
        for pattern, use in PROSE
        for match in re.finditer(pattern, text)
    ]


def _complaints(paths=(PACKAGE,)) -> list[str]:
    complaints = []
    for path in paths:
        for file in sorted(path.rglob("*.*")) if path.is_dir() else [path]:
            name = file.relative_to(PACKAGE if PACKAGE in file.parents else ROOT)
            if file.suffix == ".py":
                source = file.read_text(encoding="utf-8")
                complaints += find_private_words(name.as_posix(), source)
            elif file.suffix == ".md":
                lines = enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
                complaints += _private_prose(name.as_posix(), lines)
    return complaints


def test_the_package_speaks_the_field_s_english():
    complaints = _complaints((PACKAGE, ROOT / "docs", ROOT / "README.md"))
    assert not complaints, "\n" + "\n".join(complaints)


@pytest.mark.parametrize(
    "source",
    [
        "def bend(x):\n    return x\n",
        "leaf_matrix = 1\n",
        "class LeafMatrix:\n    pass\n",
        "def f(n_targets):\n    return n_targets\n",
        "for found in ():\n    pass\n",
        "def f():\n    '''Give the number of rows.'''\n",
        "x = 1  # what a unit more of the score does\n",
        "raise ValueError('The consensus needs two rows.')\n",
    ],
)
def test_a_planted_word_is_found(source):
    assert len(find_private_words("planted.py", source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "def third_derivative():\n    '''Return the third derivative.'''\n",
        "n_queries = 1\n",
        "y = array.view(dtype)\n",
        "def f(early_stopping_rounds):\n    return early_stopping_rounds\n",
    ],
)
def test_the_field_s_words_pass(source):
    assert find_private_words("sound.py", source) == []


def test_simd_lanes_have_one_meaning():
    assert find_private_words("kernels/simd.py", "lanes = 8\n") == []
    assert find_private_words("kernels/cpu/refit.py", "lanes = 8\n")


if __name__ == "__main__":
    lines = _complaints([Path(p).resolve() for p in sys.argv[1:]] or (PACKAGE,))
    print("\n".join(lines))
    print(f"{len(lines)} words of our own are left")
