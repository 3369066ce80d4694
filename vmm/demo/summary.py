"""What the demo says at its end: jobs and waits per share, guests made and removed, rules fired."""

from __future__ import annotations

from vmm.demo.follow import NOTHING_SERVED, Seen


def summary(seen: Seen | None, elapsed_s: float, programs: int) -> list[str]:
    """Lines of at most 80 columns."""
    if seen is None:
        return [f"The demo ran {elapsed_s:.0f} s; the Manager did not come to decide anything."]
    picture = seen.picture
    lines = [
        f"The demo ran {elapsed_s:.0f} s: {len(picture.hosts)} hosts, {programs} programs, "
        f"{picture.position} events decided from.",
        "",
        f"  {'share':<10} {'jobs run':>9} {'submitted':>10} {'mean wait':>10}",
    ]
    for share in picture.shares:
        done = seen.served.get(share.queue, NOTHING_SERVED)
        lines.append(f"  {share.name:<10} {done.done:>9} {done.submitted:>10} {done.show_wait():>10}")
    created = picture.totals.get("guests created", 0)
    destroyed = picture.totals.get("guests destroyed", 0)
    fired = ", ".join(f"{rule} {times}" for rule, times in sorted(picture.rules_fired.items()))
    return [
        *lines,
        "",
        f"  VMs created    {created:>5}",
        f"  VMs destroyed  {destroyed:>5}{_left(len(picture.guests))}",
        f"  triggers fired {sum(picture.rules_fired.values()):>5}{f'   ({fired})' if fired else ''}",
    ]


def _left(guests: int) -> str:
    if not guests:
        return ""
    return f"   ({guests} {'was' if guests == 1 else 'were'} there at the end)"
