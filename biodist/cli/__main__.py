"""``python -m biodist.cli`` is ``biodist``."""

from biodist.cli.app import main

main()
