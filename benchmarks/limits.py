"""What a benchmark's figures are held to."""


def hold(figures: dict[str, float], limits: dict[str, float]) -> None:
    """Says of each figure whether it is at most its limit; ends the process with status 1 if one is not.

    Args:
        figures: name -> what was measured.
        limits: name -> the most it may be.
    """
    broken = [name for name, limit in limits.items() if figures[name] > limit]
    for name, limit in limits.items():
        print(f"{name}: {figures[name]:.3g}, limit {limit:g}{' BROKEN' if name in broken else ''}")
    if broken:
        raise SystemExit(f"over the limit: {', '.join(broken)}")
