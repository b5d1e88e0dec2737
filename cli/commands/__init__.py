"""One file per command. They import typer and the standard library only, so that help answers at once."""
