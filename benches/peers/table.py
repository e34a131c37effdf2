"""Markdown."""


def table(head, rows):
    """Lines of a table; the first column is text, the others are numbers."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def thousands(count):
    """With a space between groups."""
    return f"{count:,}".replace(",", " ")


def duration(seconds):
    if seconds < 10:
        return f"{seconds:.2f} s"
    return f"{seconds:.0f} s"


def times(ratio):
    if ratio < 10:
        return f"{ratio:.2f}×"
    return f"{ratio:.0f}×"


def megabytes(count):
    if count < 10_000_000:
        return f"{count / 1e6:.1f} MB"
    return thousands(round(count / 1e6)) + " MB"


def millions(count):
    return f"{count / 1e6:.2f} M"
