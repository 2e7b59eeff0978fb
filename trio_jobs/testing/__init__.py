"""What the project is tested with, for users to test their own code with."""

from ._machine import TrioMachine, initialize, invariant, rule

__all__ = ["TrioMachine", "initialize", "invariant", "rule"]
