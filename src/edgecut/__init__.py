"""edgecut: cut one trained neural network into an edge half and a cloud half."""

__version__ = "0.1.0"
