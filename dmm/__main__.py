"""python -m dmm: the same as the command dmm."""

from dmm.cli import app

if __name__ == "__main__":
    app()
