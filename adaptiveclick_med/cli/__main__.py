"""Run the command line with ``python -m adaptiveclick_med.cli``."""

from __future__ import annotations

from adaptiveclick_med.cli import main

if __name__ == "__main__":
    main()
