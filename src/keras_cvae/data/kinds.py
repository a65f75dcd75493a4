"""What kind of data a file holds, by its name; imports nothing."""

from pathlib import Path

CSV = (".csv", ".tsv", ".txt")
PARQUET = (".parquet", ".pq")
ARROW = (".feather", ".arrow")
SHARDS = (".tar", ".tar.gz", ".tgz")  # of pictures
HUB = "hf://"  # and the name of a data set there
TABLES = (*CSV, *PARQUET, *ARROW)


def suffix(path: str | Path) -> str:
    """The suffix that says what kind of file it is, without that of a compression."""
    return Path(Path(path).name.lower().removesuffix(".gz")).suffix


def is_table(path: str | Path) -> bool:
    """Whether this is the name of a file with a table."""
    return suffix(path) in TABLES
