"""More inputs out of those that are there. They need no labels: the original model answers them."""

from typing import Literal

Kind = Literal["none", "flip", "auto"]
"""What is done to inputs: nothing; images mirrored; or all of `views`."""
