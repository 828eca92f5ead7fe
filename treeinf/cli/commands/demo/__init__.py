"""`treeinf demo`: flip labels of real data, and see treeinf find them."""

from treeinf.cli.commands.demo.command import demo

__all__ = ["demo"]
