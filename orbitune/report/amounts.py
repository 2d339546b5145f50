"""Numbers as people read them: a sensible unit, three digits, and a dash where there is nothing to say."""

from __future__ import annotations

SPACE = "\u00a0"
"""A number and its unit stay on one line."""

NONE = "–"

_BYTES = ("B", "kB", "MB", "GB", "TB", "PB")
_SHORT = ((1e3, "ms"), (1e6, "µs"), (1e9, "ns"))
_BITS_PER_S = ("bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s")
_JOULES = ("J", "kJ", "MJ", "GJ", "TJ")


def digits(value: float, significant: int = 3) -> str:
    """Three significant digits without an exponent; whole numbers above that keep all digits."""
    if value == 0:
        return "0"
    text = f"{value:.{significant}g}"
    if "e" in text:
        return f"{value:,.0f}" if abs(value) >= 1 else f"{value:.{significant}f}".rstrip("0").rstrip(".") or "0"
    return text


def scaled(value: float | None, units: tuple[str, ...]) -> str:
    """A value in the unit (steps of 1000) that leaves one to three digits before the point."""
    if value is None:
        return NONE
    step = 0
    while abs(value) >= 999.5 and step < len(units) - 1:
        value, step = value / 1000, step + 1
    return f"{digits(value)}{SPACE}{units[step]}"


def volume(size: float | None) -> str:
    """Bytes, in decimal units."""
    return scaled(size, _BYTES)


def energy(joules: float | None) -> str:
    """Joules with a decimal prefix."""
    return scaled(joules, _JOULES)


def rate(bps: float | None) -> str:
    """Bits per second, in decimal units."""
    return scaled(bps, _BITS_PER_S)


def duration(seconds: float | None) -> str:
    """Seconds as ns to s, min and s, h and min, or hours."""
    if seconds is None:
        return NONE
    if 0 < seconds < 0.9995:
        power, unit = next((p, unit) for p, unit in _SHORT if seconds * p >= 0.9995 or unit == "ns")
        return f"{digits(seconds * power)}{SPACE}{unit}"
    if seconds < 59.95:
        return f"{digits(seconds)}{SPACE}s"
    if round(seconds) < 3600:
        return _two(round(seconds), 60, "min", "s")
    if round(seconds / 60) < 100 * 60:
        return _two(round(seconds / 60), 60, "h", "min")
    return f"{seconds / 3600:,.0f}{SPACE}h"


def _two(count: int, per: int, large: str, small: str) -> str:
    whole, rest = divmod(count, per)
    return f"{whole}{SPACE}{large}" + (f"{SPACE}{rest}{SPACE}{small}" if rest else "")


def time_unit(longest_s: float) -> tuple[float, str]:
    """The unit for an axis of times: seconds in it, and its name. Hours, unless that leaves only small fractions."""
    if longest_s >= 3600:
        return 3600.0, "hours"
    return (60.0, "minutes") if longest_s >= 180 else (1.0, "seconds")


def moment(seconds: float) -> str:
    """A moment of the job: on the clock, or in seconds where the clock would hide the difference."""
    return duration(seconds) if seconds < 60 else clock(seconds)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds since the start: 01:02:03."""
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}"


def percent(share: float | None, decimals: int = 1) -> str:
    """A share of one in percent."""
    return NONE if share is None else f"{share * 100:.{decimals}f}{SPACE}%"


def set_percent(share: float) -> str:
    """A share that somebody chose: no decimals where none were given."""
    return f"{digits(share * 100)}{SPACE}%"


def small_percent(share: float) -> str:
    """A share of a total, where something is never shown as nothing."""
    return f"<0.1{SPACE}%" if 0 < share < 0.0005 else percent(share)


def times(ratio: float | None, significant: int = 3) -> str:
    """A ratio: 2.4×."""
    return NONE if ratio is None else f"{digits(ratio, significant)}×"


def count(value: int, noun: str, plural: str = "") -> str:
    """1 satellite, 2 satellites."""
    return f"{value:,}{SPACE}{noun if value == 1 else plural or noun + 's'}"
