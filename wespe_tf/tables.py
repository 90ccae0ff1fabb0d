"""Tables of results: rows of CSV files, and Markdown tables in documents."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import UserError, first_line
from .files import write_atomically


def read_rows(table: Path) -> list[dict[str, str]]:
    """Rows of a CSV file as dictionaries; an empty list if there is no file.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        with open(table, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table}: cannot be read ({first_line(error)})") from error


def append_row(table: Path, columns: Sequence[str], row: Mapping[str, Any]) -> None:
    """Appends a dictionary to a CSV file. A new file first gets a line of column names.

    Raises:
        UserError: if it cannot be written.
    """
    try:
        with open(table, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            if not file.tell():
                writer.writeheader()
            writer.writerow(row)
    except OSError as error:
        raise UserError(f"{table}: cannot be written ({error.strerror})") from error


def replace_tables(document: Path, lines: Iterable[str], name: str = "tables") -> None:
    """Puts lines of Markdown between a document's two lines `<!-- NAME -->`.

    With an empty path, nothing is done.

    Raises:
        UserError: if the document lacks these lines.
    """
    if document == Path():
        return
    mark = f"<!-- {name} -->"
    parts = document.read_text(encoding="utf-8").split(mark) if document.is_file() else []
    if len(parts) != 3:
        raise UserError(f"document={document}: expected a file with two lines {mark}")
    text = "\n".join(lines)
    write_atomically(document, f"{parts[0]}{mark}\n{text}\n\n{mark}{parts[2]}".encode())
