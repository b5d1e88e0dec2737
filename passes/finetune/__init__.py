"""Training what pruning left: the program as a torch module, taught by the original one."""
