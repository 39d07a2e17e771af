"""Numbers as text, the same in every format: scores in percent, bits per byte with three decimals."""

from __future__ import annotations

from fusebench.report.tables import Cell, Column

MINUS, DASH = "−", "–"


def nothing(value: float) -> bool:
    """Return whether there is no number."""
    return value != value  # noqa: PLR0124


def value_text(cell: Cell, column: Column) -> str:
    """Return the value alone, or why it is missing."""
    if cell.missing:
        return cell.missing
    if nothing(cell.value):
        return ""
    return f"{100 * cell.value:.2f}" if column.paper else number(cell.value, bits=column.bits)


def number(value: float, *, bits: bool) -> str:
    """Return a value: `41.8` (percent) or `0.543` (bits per byte)."""
    return f"{value:.3f}" if bits else f"{100 * value:.1f}"


def interval_text(cell: Cell, column: Column) -> str:
    """Return the value's interval, `38.9–44.7`, or an empty string."""
    if nothing(cell.low) or cell.missing:
        return ""
    return f"{number(cell.low, bits=column.bits)}{DASH}{number(cell.high, bits=column.bits)}"


def signed(value: float, *, bits: bool) -> str:
    """Return a difference with its sign; a zero has none."""
    text = f"{value:+.4f}" if bits else f"{100 * value:+.1f}"
    return text[1:] if float(text) == 0 else text.replace("-", MINUS)


def difference_text(cell: Cell, column: Column) -> str:
    """Return the difference to the reference with its mark, `+1.3*`, or an empty string."""
    if nothing(cell.difference):
        return ""
    return signed(cell.difference, bits=column.bits) + ("*" if cell.favours else "")


def difference_interval_text(cell: Cell, column: Column) -> str:
    """Return the interval of the difference, `−0.2 to +2.8`, or an empty string."""
    if nothing(cell.difference_low):
        return ""
    return f"{signed(cell.difference_low, bits=column.bits)} to {signed(cell.difference_high, bits=column.bits)}"


def count(value: float) -> str:
    """Return a count in a short form: `950`, `12.3k`, `1.1M`, `7B`."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f}".removesuffix(".0") + unit
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """Return a duration: `0.4 s`, `25 s`, `7 min 11 s`, `2 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
