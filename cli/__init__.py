"""The command line: parse, dispatch, print. What is printed is worked out in the rooms below."""
