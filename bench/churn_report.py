"""The tables of bench/churn."""

from collections import Counter


def line(figures):
    """One scene in front of one proxy, as soon as it is over."""
    failed = sum((Counter(errors) for errors in figures["failed"].values()), Counter())
    why = "; ".join(f"{kind}: {counted(Counter(errors))}" for kind, errors in figures["failed"].items() if errors)
    words = [f"{figures['scene']:<10} {figures['peer']:<16} failed {failed.total()} of {sum(figures['sent'].values())}"]
    words += [" ".join(f"{name} {value}" for name, value in figures["ms"].items()) + " ms"]
    if "websockets" in figures:
        words.append(f"WebSockets dropped {figures['websockets']['dropped']} of {figures['websockets']['open']}")
        words.append(f"{figures['processes']} processes, {figures['MB']} MB")
    if figures["resent by the client"]:
        words.append(f"{figures['resent by the client']} resent by the client")
    words.append(f"load late by {figures['load late by at most ms']} ms")
    return ", ".join(words) + (f" [{why}]" if why else "")


def as_markdown(results, peers, about_peers, about_scenes, about):
    scenes = [name for name in about_scenes if any(result["scene"] == name for result in results)]
    parts = [about, "**Failed requests**, of all that were sent in the scene; dropped WebSockets"]
    parts.append(table(["", *peers], [failed_row(results, peers, about_scenes[name], name) for name in scenes]))
    parts.append("**How they failed**, GET and POST; answered ones: p50, p99 and longest, ms")
    rows = [[about_scenes[name].title, peer, *details(of(results, name, peer))] for name in scenes for peer in peers]
    parts.append(table(["", "", "GET", "POST", "p50", "p99", "max"], rows))
    parts.append("\n".join(f"- `{peer}`: {about_peers[peer].about}" for peer in peers))
    return "\n\n".join(parts) + "\n"


def failed_row(results, peers, scene, name):
    cells = []
    for peer in peers:
        found = of(results, name, peer)
        sent = sum(sum(result["sent"].values()) for result in found)
        failed = sum(sum(errors.values()) for result in found for errors in result["failed"].values())
        cell = f"{failed:,} of {sent:,}" if found else "–"
        if found and scene.sockets:
            dropped = sum(result["websockets"]["dropped"] for result in found)
            cell += f"; {dropped} of {sum(result['websockets']['open'] for result in found)}"
            processes, memory = (max(result[key] for result in found) for key in ("processes", "MB"))
            cell += f"; {processes} processes, {memory:.0f} MB"
        cells.append(cell)
    return [scene.title, *cells]


def details(found):
    if not found:
        return ["–"] * 5
    ways = {"GET": Counter(), "POST": Counter()}
    for result in found:
        for kind, errors in result["failed"].items():
            ways[kind.partition(",")[0]].update(errors)
    cells = [counted(ways[kind]) or "0" for kind in ways]
    # Of several rounds the worst: an average of maxima says nothing.
    return cells + [f"{max(result['ms'][name] for result in found):,.0f}" for name in ("p50", "p99", "max")]


def counted(errors):
    return ", ".join(f"{count:,} x {why}" for why, count in errors.most_common())


def of(results, scene, peer):
    return [result for result in results if (result["scene"], result["peer"]) == (scene, peer)]


def table(header, rows):
    lines = ["| " + " | ".join(row) + " |" for row in [header] + rows]
    return "\n".join([lines[0], "|" + "---|" * len(header)] + lines[1:])
