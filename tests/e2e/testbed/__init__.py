"""Several "physical hosts", a batch server and real guests on one machine, made of namespaces.

    images = build_images(cache, repository)
    bed = Testbed(images, cache, hosts=("a", "b"))
    bed.up()
    bed.ctl.submit("groupA", "hostname")        # the batch server's machine
    bed.hosts["a"].virsh("list")                # a host with its own libvirtd
    Site(bed, tmp_path, repository, "t1", Choices()).start()    # vmm's programs on them
    bed.hosts["a"].power_off()                  # a power cut
    bed.down()
    assert bed.leftovers() == []

Needs root, and Debian's libvirt, QEMU, Slurm, munge, iproute2 and e2fsprogs (`make test` installs them).
"""

from .bed import Testbed
from .cmdline import WORDS, guest_words
from .controller import Controller, Job
from .domain import domain_xml, make_overlay
from .gate import Gate
from .host import Host
from .image import ImageSet, build_images
from .network import NETWORK, PREFIX_LENGTH, Lan, address
from .pod import Pod, PodProcess
from .settings import Choices
from .shell import SEARCH_PATH, CommandFailed, WaitedTooLong, run, tail, wait_for
from .site import Site

__all__ = [
    "NETWORK",
    "PREFIX_LENGTH",
    "SEARCH_PATH",
    "WORDS",
    "Choices",
    "CommandFailed",
    "Controller",
    "Gate",
    "Host",
    "ImageSet",
    "Job",
    "Lan",
    "Pod",
    "PodProcess",
    "Site",
    "Testbed",
    "WaitedTooLong",
    "address",
    "build_images",
    "domain_xml",
    "guest_words",
    "make_overlay",
    "run",
    "tail",
    "wait_for",
]
