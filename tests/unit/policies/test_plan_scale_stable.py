"""Scaling again after a plan was carried out changes nothing."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from planning_world import clusters

from vmm.policies.model import Cluster, Guest, Host
from vmm.policies.plan import Kind
from vmm.policies.scale import Demand, scale


@settings(max_examples=60, deadline=None)
@given(clusters(), st.data())
def test_scaling_again_is_empty(cluster: Cluster, data: st.DataObject) -> None:
    part = st.floats(0, 1.5)
    demands = {
        g.name: Demand(g.name, data.draw(part) * g.vcpus, data.draw(part) * g.memory_mib, 1, 8, 2, 64)
        for g in cluster.guests
    }
    for action in scale(cluster, demands.values()).actions:
        guest = cluster.guest_by_name[action.guest]
        if action.kind is Kind.MIGRATE:
            new = replace(guest, host=action.target)
        else:
            sizes = dict(action.sizes)
            known = demands[guest.name]
            demands[guest.name] = replace(
                known,
                weight_now=sizes.pop("cpu_weight", known.weight_now),
                cap_now=sizes.pop("cpu_cap", known.cap_now),
            )
            new = replace(guest, **sizes)  # type: ignore[arg-type]
        cluster = Cluster(cluster.hosts, (new if g.name == new.name else g for g in cluster.guests))
    again = scale(cluster, demands.values())
    assert not again.actions
    assert again.why_empty


def test_vcpus_that_a_guest_gives_up_are_for_others_though_its_own_memory_grows() -> None:
    """`mixed` needs more memory and fewer vCPUs; `busy` gets the vCPUs in the same plan."""
    host = Host("h0", 4096, 2, vcpu_ratio=4.0)
    cluster = Cluster([host], [Guest("busy", 1024, 2, host="h0"), Guest("mixed", 1024, 6, host="h0")])
    demands = [
        Demand("busy", 2.0, 600, 1, 8, 512, 4096),
        Demand("mixed", 0.1, 1000, 1, 8, 512, 4096),
    ]
    sizes: dict[str, dict[str, float]] = {"busy": {}, "mixed": {}}
    for action in scale(cluster, demands).actions:
        sizes[action.guest] |= action.sizes
    assert sizes["busy"]["vcpus"] == 4
    assert (sizes["mixed"]["vcpus"], sizes["mixed"]["memory_mib"]) == (1, 1792)
