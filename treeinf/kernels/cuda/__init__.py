"""The kernels of ``kernels/cpu`` on CUDA; ``kernels/device.py`` alone imports them."""

__all__: list[str] = []
