"""Damage to model files, and the promise that an ensemble or a refusal comes out."""

import copy
import time

import numpy as np

from treeinf.adapters import read_model
from treeinf.ensemble import TreeEnsemble
from treeinf.errors import ModelFormatError, UnsupportedModelError

REFUSALS = (ModelFormatError, UnsupportedModelError)


def mutate(content, tokens, random):
    """Cut, swap, repeat or replace a few pieces of the bytes."""
    content = bytearray(content)
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(content) + 1)
        length = random.choice([1, 1, 2, 5, 20, 300])
        kind = random.randrange(6)
        if kind == 0:
            token = random.choice(tokens)
            n_replaced = random.choice([0, length, len(token)])
            content[place : place + n_replaced] = token
        elif kind == 1:
            del content[place : place + length]
        elif kind == 2:
            other = random.randrange(len(content) + 1)
            content[place:place] = content[other : other + length]
        elif kind == 3 and place < len(content):
            content[place] = random.randrange(256)
        elif kind == 4:
            digits = [k for k, b in enumerate(content) if 48 <= b <= 57]
            if digits:
                content[random.choice(digits)] = random.randrange(48, 58)
        elif random.random() < 0.2:
            del content[place:]
    return bytes(content)


def spoil(model, value, generator):
    """Put a value somewhere into the entries, deep inside more often than not."""
    place = model
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = generator.choice(keys)
        inner = place[key]
        if isinstance(inner, dict | list) and inner and generator.random() < 0.95:
            place = inner
            continue
        place[key] = copy.deepcopy(value)
        return


def survives(model):
    """Read what is damaged: whether a model came out, whose raw scores are finite."""
    begin = time.thread_time()
    try:
        ensemble = read_model(model)
    except REFUSALS:
        return False
    finally:
        assert time.thread_time() - begin < 5.0
    assert isinstance(ensemble, TreeEnsemble)
    if ensemble.n_features <= 1000:
        rows = np.zeros((2, ensemble.n_features))
        assert np.isfinite(ensemble.raw_score(rows)).all()
    return True
