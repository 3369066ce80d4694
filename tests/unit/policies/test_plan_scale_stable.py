"""Scaling again after a plan was carried out changes nothing."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from planning_world import clusters

from vmm.policies.model import Cluster
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
