"""``python -m harmony``: the command line, where its script is not on the PATH."""

from harmony.cli import main

if __name__ == "__main__":
    main()
