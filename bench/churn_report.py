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
    parts = [about, "Failed requests, and of how many:"]
    lines = [row for name in scenes for row in rows(results, peers, about_scenes[name], name)]
    parts.append(table(["", *peers], lines))
    parts.append("\n".join(f"- `{peer}`: {about_peers[peer].about}" for peer in peers))
    parts.append("How they failed, and how long the others took (p50, p99, longest, ms; of several rounds the worst):")
    for name in scenes:
        parts.append(f"**{about_scenes[name].title}**")
        lines = [[peer, *details(of(results, name, peer))] for peer in peers if of(results, name, peer)]
        parts.append(table(["", "GET", "POST", "p50", "p99", "max"], lines))
    return "\n\n".join(parts) + "\n"


def rows(results, peers, scene, name):
    found = {peer: of(results, name, peer) for peer in peers}
    yield [scene.title] + [failed(found[peer]) for peer in peers]
    if scene.sockets:
        yield ["– WebSockets dropped"] + [dropped(found[peer]) for peer in peers]
        yield ["– memory of the proxy, in how many processes"] + [weight(found[peer]) for peer in peers]


def failed(results):
    if not results:
        return "–"
    sent = sum(sum(result["sent"].values()) for result in results)
    counts = zip((ways.total() for ways in by_method(results)), ("GET", "POST"))
    parts = [f"{count:,} {method}" for count, method in counts if count]
    return f"{', '.join(parts)} of {sent:,}" if parts else "0"


def dropped(results):
    sockets = [result["websockets"] for result in results]
    return f"{sum(one['dropped'] for one in sockets)} of {sum(one['open'] for one in sockets)}" if sockets else "–"


def weight(results):
    processes, memory = (max((result[key] for result in results), default=0) for key in ("processes", "MB"))
    return f"{memory:.0f} MB in {processes}" if results else "–"


def details(found):
    cells = [counted(ways) or "0" for ways in by_method(found)]
    return cells + [f"{max(result['ms'][name] for result in found):,.0f}" for name in ("p50", "p99", "max")]


def by_method(results):
    """How requests failed: GETs, POSTs."""
    ways = {"GET": Counter(), "POST": Counter()}
    for result in results:
        for kind, errors in result["failed"].items():
            ways[kind.partition(",")[0]].update(errors)
    return ways.values()


def counted(errors):
    return ", ".join(f"{count:,} x {why}" for why, count in errors.most_common())


def of(results, scene, peer):
    return [result for result in results if (result["scene"], result["peer"]) == (scene, peer)]


def table(header, rows):
    lines = ["| " + " | ".join(row) + " |" for row in [header] + rows]
    return "\n".join([lines[0], "|" + "---|" * len(header)] + lines[1:])
