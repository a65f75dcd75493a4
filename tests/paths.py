"""Where things lie in this clone."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
