"""The command ``tsnn-uq``, also available as ``python -m tsnn_uq``."""

from __future__ import annotations

import sys

from tsnn_uq.missing_packages import MissingPackageError

__all__ = ["main"]


def main() -> None:
    """Run the command line, or say in one line which package it needs."""
    try:
        from tsnn_uq import cli
    except MissingPackageError as error:
        print(f"tsnn-uq: {error}", file=sys.stderr)
        sys.exit(2)
    cli.main()


if __name__ == "__main__":
    main()
