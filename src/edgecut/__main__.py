"""Entry point of the ``edgecut`` command."""


def main() -> None:
    """Run the command line."""
    from edgecut.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
