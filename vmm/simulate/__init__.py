"""A generated stream and a virtual clock around the same core that the Manager runs."""

from vmm.simulate.cluster import Faults, SimBatch, SimGuest, SimHost, SimJob
from vmm.simulate.simulation import Simulation

__all__ = ["Faults", "SimBatch", "SimGuest", "SimHost", "SimJob", "Simulation"]
