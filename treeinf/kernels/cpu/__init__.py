"""Kernels for the CPU, compiled by Numba on first use."""

__all__: list[str] = []
