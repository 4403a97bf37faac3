from pathlib import Path

ROOT = Path(__file__).absolute().parents[1]
