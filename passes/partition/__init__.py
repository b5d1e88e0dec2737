"""The cut: which groups of operators run on the edge and which in the cloud, solved exactly."""
