"""The pass that writes the contract between compiler and runtime."""
