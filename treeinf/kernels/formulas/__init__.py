"""Formulas for tiles of rows that the kernels of both devices share.

Each is compiled into the CPU's kernels as it stands, and by
``kernels/cuda/compilation.py`` into those of CUDA, for tiles of one row.
"""

__all__: list[str] = []
