"""XGBoost's row samples with Python's integers, draw by draw."""

import struct

MODULUS = 2**63


def to_single(value):
    """Round a number to float32."""
    return struct.unpack("f", struct.pack("f", value))[0]


def draw_bag(start, n_rows, subsample):
    """Draw rows as a Bernoulli variable of a congruential generator each."""
    state, bag = start, []
    for _ in range(n_rows):
        state = state * 16807 % MODULUS
        bag.append(float(state - 1) / float(MODULUS) < to_single(subsample))
    return bag


def twist(seed, n_outputs):
    """Return outputs of a Mersenne twister (MT19937), at most 227."""
    words = [seed % 2**32]
    for i in range(1, 624):
        mixed = words[-1] ^ words[-1] >> 30
        words.append((1812433253 * mixed + i) % 2**32)
    outputs = []
    for i in range(n_outputs):
        joined = (words[i] & 2**31) | (words[i + 1] & 2**31 - 1)
        value = words[i + 397] ^ joined >> 1 ^ (joined & 1) * 0x9908B0DF
        value ^= value >> 11
        value ^= value << 7 & 0x9D2C5680
        value ^= value << 15 & 0xEFC60000
        outputs.append(value ^ value >> 18)
    return outputs
