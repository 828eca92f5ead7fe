"""Worth of neighbours by its definition, for the enumeration in `shapley.py`."""


def nearest(place, own, players, k):
    """The k nearest of some rows, ties in their order."""
    distance = [
        sum((a - b) ** 2 for a, b in zip(place[i], own, strict=True)) for i in players
    ]
    ranked = sorted(zip(distance, players, strict=True))
    return [i for _, i in ranked[:k]]


def worth(place, target, own_place, own_target, k, is_class):
    """A game: what a set of rows is worth to one test row."""

    def game(players):
        found = nearest(place, own_place, sorted(players), k)
        if is_class:
            return sum(1.0 for i in found if target[i] == own_target) / k
        return -((sum(target[i] for i in found) / k - own_target) ** 2) / 2

    return game
