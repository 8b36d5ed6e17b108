"""Figures as words: how a share, an interval, a budget and a cost are written, everywhere alike."""

from __future__ import annotations

from math import isfinite

from secondlook.schema import Diagnosis, Metric, ThreatRow
from secondlook.tasks.view import Column

NOTHING = "–"
_NORMS = {"linf": "L∞", "l2": "L2", "l1": "L1", "sound linf": "L∞", "sound l2": "L2", "snr": "SNR"}
_LEVELS = 255
_ROUNDING = 1e-9


def percent(share: float, n: int) -> str:
    """A share in percent: tenths where n carries them, and never a rounded-off 0 or 100.

    Example:
        >>> percent(0.63, 100), percent(0.0004, 1000), percent(float("nan"), 0)
        ('63 %', '<0.1 %', '–')
    """
    if not isfinite(share):
        return NOTHING
    digits = 0 if n <= 100 else 1
    if _ROUNDING < share < 1 - _ROUNDING and float(f"{100 * share:.{digits}f}") in (0, 100):
        return f"{_near_an_end(share)} %"
    return f"{abs(100 * share):.{digits}f} %"


def _near_an_end(share: float) -> str:
    if share < 0.0005:
        return "<0.1"
    return ">99.9" if share > 0.9995 else f"{100 * share:.1f}"


def ends(metric: Metric, digits: int = 0) -> str:
    """The interval of a share in percent, ``[53, 72]``; nothing where there is none."""
    if not (isfinite(metric.low) and isfinite(metric.high)):
        return ""
    low, high = (f"{abs(100 * end):.{digits}f}" for end in (metric.low, metric.high))
    return f"[{low}, {high}]"


def carried(n: int) -> int:
    """The digits after the point that n carries in an interval."""
    return 0 if n < 1000 else 1


def share(metric: Metric, n: int) -> str:
    """A share with its interval, ``63 % [53, 72]``."""
    return f"{percent(metric.value, n)} {ends(metric, carried(n))}".strip()


def plainly(column: Column, metric: Metric, n: int) -> tuple[str, str]:
    """The value and the interval of a metric of the main table: of shares in percent.

    Example:
        >>> plainly(Column(metric="cider"), Metric(value=3.29, low=3.1, high=3.4), 200)
        ('3.29', '[3.10, 3.40]')
    """
    if column.unit == "share":
        return percent(metric.value, n), ends(metric, carried(n))
    bounded = isfinite(metric.low) and isfinite(metric.high)
    interval = f"[{metric.low:.2f}, {metric.high:.2f}]" if bounded else ""
    return f"{metric.value:.2f}" if isfinite(metric.value) else NOTHING, interval


def measure(column: Column, metric: Metric, n: int) -> str:
    """Any metric with what it carries: shares in percent, means with deviation and interval."""
    if column.unit == "points":
        return f"{points(metric.value)} [{points(metric.low)}, {points(metric.high)}] points"
    if column.unit == "share":
        return share(metric, n)
    if not isfinite(metric.value):
        return NOTHING
    spread = "" if metric.sd is None else f" ± {number(metric.sd)}"
    bounded = isfinite(metric.low) and isfinite(metric.high)
    interval = f" [{number(metric.low)}, {number(metric.high)}]" if bounded else ""
    return f"{number(metric.value)}{spread}{interval}"


def points(share: float) -> str:
    """A difference of shares in points, with its sign.

    Example:
        >>> points(0.305), points(-0.0001)
        ('+30.5', '0.0')
    """
    rounded = round(100 * share, 1)
    return f"{rounded:+.1f}" if rounded else "0.0"


def number(value: float) -> str:
    """A plain number: three decimals below ten, else four digits, and no sign where nothing is left of it.

    Example:
        >>> number(-0.25), number(-0.0001), number(12345.6)
        ('-0.250', '0.000', '1.235e+04')
    """
    if not isfinite(value):
        return NOTHING
    return f"{round(value, 3) + 0.0:.3f}" if abs(value) < 10 else f"{value:.4g}"


def budget(threat: ThreatRow) -> str:
    """The ball of the attacker, ``L∞ 8/255``; L2 and L1 stay in pixel units, and sounds in shares of full scale."""
    norm = _NORMS.get(threat.norm, threat.norm)
    if threat.eps == 0:
        return "no change"
    return f"{norm} {level(threat)}" + {"linf": "/255", "snr": " dB"}.get(threat.norm, "")


def diagnosed(found: Diagnosis) -> str:
    """What a diagnosis says, in a sentence or two."""
    return f"Diagnosis of {found.n} samples: {found.verdict}. {found.sentence}"


def unit(norm: str) -> str:
    """What an axis of budgets measures."""
    if norm == "snr":
        return "signal-to-noise ratio, in dB"
    if norm.startswith("sound"):
        return f"eps, {_NORMS[norm]}, of full scale"
    return "eps, L∞, in 1/255" if norm == "linf" else f"eps, {norm.upper()}, in pixel units"


def level(threat: ThreatRow) -> str:
    """The radius alone: in 255ths for L∞, in pixel units else."""
    return f"{threat.eps * (_LEVELS if threat.norm == 'linf' else 1):.4g}"


def times(factor: float) -> str:
    """An overhead, ``12×``."""
    if not isfinite(factor):
        return NOTHING
    return f"{factor:.0f}×" if factor >= 10 else f"{factor:.1f}×"


def duration(seconds: float) -> str:
    """Wall time, ``0.42 s`` or ``3 min 05 s``."""
    if not isfinite(seconds):
        return NOTHING
    if seconds < 60:
        return f"{seconds:.3g} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


def memory(size: int) -> str:
    """Bytes in MiB or GiB; nothing where it was not measured."""
    if size <= 0:
        return NOTHING
    mebibytes = size / 2**20
    return f"{mebibytes / 1024:.1f} GiB" if mebibytes >= 1024 else f"{mebibytes:.0f} MiB"
