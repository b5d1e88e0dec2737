"""The other converters, on the same networks: how they are called, timed, and compared with edgecut."""
