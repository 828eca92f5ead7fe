"""Shapley values by enumeration of all coalitions, from the definition."""

import itertools
import math


def enumerate_shapley(game, n):
    """Value of each of n players: mean of what it adds, over all orders.

    `game` gives the worth of a set of players, a number or an array.
    """
    worth = {}
    for size in range(n + 1):
        for players in itertools.combinations(range(n), size):
            worth[players] = game(frozenset(players))
    values = []
    for player in range(n):
        total = 0.0
        for players in worth:
            if player in players:
                continue
            size = len(players)
            share = math.factorial(size) * math.factorial(n - size - 1)
            joined = tuple(sorted((*players, player)))
            added = worth[joined] - worth[players]
            total = total + added * share / math.factorial(n)
        values.append(total)
    return values
