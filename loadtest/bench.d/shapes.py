"""Crowds that change, up to ten times the peak, each plotted as the rehearsal's own page: what was offered and answered over time, with the controller and without.

- step: 3 s of 1x, 6 s of 10x, 6 s of 1x again.
- spike: 3 s of 1x, then from 10x falling to nearly nothing within 6 s, then 5 s of 1x.
- sawtooth: 3 s of 1x, then three times from nothing to 10x within 4 s.

sold_share: the orders in time, by what a gateway could have sold that sells to everybody up to its peak and at its peak when more come. The moments are random."""
import json

import overload


def plans(peak):
    """Clicks by what the shapes mean: a ramp ends at twice its mean, a spike begins at five times its own."""
    def phase(shape, seconds, times):
        return {"shape": shape, "over_ms": seconds * 1000, "clicks": int(peak * times * seconds)}
    calm = phase("step", 3, 1)
    return {"step": [calm, phase("step", 6, 10), phase("step", 6, 1)],
            "spike": [calm, phase("spike", 6, 10 / 5), phase("step", 5, 1)],
            "sawtooth": [calm] + [phase("ramp", 4, 10 / 2)] * 3}


def sellable(report, peak):
    slot = report["timeline"]["slot_ms"] / 1e3
    return sum(min(offered, peak * slot) for offered in report["timeline"]["offered"])


def one(bound, controller, peak, name, phases, pages):
    penstock = bound.start(controller)
    plan = bound.directory / f"{name}.json"
    plan.write_text(json.dumps({"stock": sum(phase["clicks"] for phase in phases), "repeat_share": 0, "phases": phases}))
    page = pages / f"{bound.name}-{name}-controller-{controller}.html"
    report = overload.rehearse(bound, penstock, "--plan", str(plan), "--html", str(page), *overload.CROWD)
    penstock.stop()
    share = report["in_time"]["answers"].get("accepted", 0) / sellable(report, peak)
    row = {"case": bound.name, "shape": name, "controller": controller, "sold_share": round(share, 3),
           "p99_admitted_ms": round(report["latency_ms"]["admitted"]["p99"], 1), "unanswered_share": round(report["unanswered"] / report["offered"], 5)}
    print(f"{name:9} controller {controller:3}  sold {share:.2f} of what could be  p99 of the admitted {row['p99_admitted_ms']:.0f} ms  "
          f"unanswered {row['unanswered_share']:.2%}  {page}", flush=True)
    return row


def run(directory, cases, controllers, pages, quick):
    pages.mkdir(parents=True, exist_ok=True)
    rows = []
    for case in cases:
        bound = overload.Bound(case, directory)
        peak = overload.find_peak(bound, 3, quick)
        for controller in controllers:
            rows += [one(bound, controller, peak, name, phases, pages) for name, phases in plans(peak).items()]
    return {"rows": rows}
