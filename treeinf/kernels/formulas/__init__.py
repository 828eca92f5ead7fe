"""Formulas for rows that the kernels of both devices share, written once.

Each is compiled into the CPU's kernels as it stands, and by
``kernels/cuda/compilation.py`` into those of CUDA, for a tile of one row.
"""

__all__: list[str] = []
