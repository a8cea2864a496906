"""`python -m fxbin`, the same as the command `fxbin`."""

from fxbin.cli import main

if __name__ == "__main__":
    main()
