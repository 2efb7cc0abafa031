"""Rows of the report: targets, medians and units."""

import dataclasses
import statistics

from harness.settings import settings


class NotMeasured(Exception):
    """A row cannot be measured here; the message gives the reason."""


GROUPS = []  # (row names, function that measures them)


def measures(*names):
    def register(function):
        GROUPS.append((names, function))
        return function

    return register


@dataclasses.dataclass
class Row:
    name: str
    what: str
    target: str
    measured: str = "–"
    ratio: float | None = None  # measured over target, or its inverse: 1 or more meets the target
    note: str = ""

    @property
    def verdict(self):
        if self.ratio is None:
            return "not measured"
        return "met" if self.ratio >= 1 else "**missed**"


def at_least(name, what, values, target, unit, note=""):
    """Returns a row whose median should be `target` or more."""
    value = statistics.median(values)
    return Row(name, what, f"≥ {show(target, unit)}", spread(values, unit), value / target, note)


def at_most(name, what, values, target, unit, note=""):
    """Returns a row whose median should be `target` or less."""
    value = statistics.median(values)
    return Row(name, what, f"≤ {show(target, unit)}", spread(values, unit), target / value, note)


def show(value, unit):
    if unit == "s":
        for scale, name in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
            if value * scale >= 1:
                break
        return f"{value * scale:.3g} {name}"
    if unit == "×":
        return f"{value:,.0f} ×" if value >= 100 else f"{value:.3g} ×"
    if value >= 1e6:
        return f"{value / 1e6:.3g} M {unit}"
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def spread(values, unit):
    shown = show(statistics.median(values), unit)
    if len(values) > 1:
        least, most = (show(value, unit).removesuffix(f" {unit}") for value in (min(values), max(values)))
        shown += f" ({least} … {most})"
    return shown


def sized(size, least=1):
    """Returns the size, or a hundredth of it with --quick."""
    return max(least, size // 100) if settings.quick else size


def runs(count=5):
    return range(1 if settings.quick else count)
