"""`python -m dmm` is the same as the command `dmm`."""

from dmm.cli import main

if __name__ == "__main__":
    main()
