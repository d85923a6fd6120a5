"""The plots of the benchmarks' page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Growth:
    """How long backups of so many files take, in seconds."""

    files: int
    first: float
    second: float


def slope_of(points: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Seconds for a file more, and seconds that are there without any: the line of least squares of relative errors."""
    weights = [1 / seconds**2 for _, seconds in points]
    total = sum(weights)
    mean_files = sum(weight * files for weight, (files, _) in zip(weights, points, strict=True)) / total
    mean_seconds = sum(weight * seconds for weight, (_, seconds) in zip(weights, points, strict=True)) / total
    across = sum(
        weight * (files - mean_files) * (seconds - mean_seconds)
        for weight, (files, seconds) in zip(weights, points, strict=True)
    )
    spread = sum(weight * (files - mean_files) ** 2 for weight, (files, _) in zip(weights, points, strict=True))
    slope = across / spread
    return slope, mean_seconds - slope * mean_files


def plot_growth(points: Sequence[Growth], path: Path) -> None:
    """Seconds over files, both on scales of powers of ten, with the fitted lines."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 4.2), dpi=100)
    kinds = (
        ("first backup", "o", "#1f5fa8", [(each.files, each.first) for each in points]),
        ("second backup, nothing changed", "s", "#b3541e", [(each.files, each.second) for each in points]),
    )
    smallest, largest = points[0].files, points[-1].files
    grid = [smallest * (largest / smallest) ** (step / 60) for step in range(61)]
    for name, marker, colour, measured in kinds:
        slope, rest = slope_of(measured)
        label = f"{name}: {slope * 1e6:.1f} µs per file + {max(rest, 0):.2f} s"
        axes.plot(grid, [slope * files + rest for files in grid], color=colour, linewidth=1.2)
        axes.plot(*zip(*measured, strict=True), marker, color=colour, label=label, markersize=7)
    axes.set(xscale="log", yscale="log", xlabel="files of 2 KB", ylabel="seconds")
    axes.grid(visible=True, which="major", color="#dddddd")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    figure.tight_layout()
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)
