"""What a guest's init reads from the kernel command line.

This table is the one place of the names. The image gets a shell file made from it, and `guest_words` writes
a command line. The guest's vmm client reads the command line itself and knows more words (token, share, ...).
"""

from __future__ import annotations

from collections.abc import Mapping

# shell variable in the guest: (word on the kernel command line, meaning)
WORDS: dict[str, tuple[str, str]] = {
    "VMM_NAME": ("vmm.name", "the guest's name: host name, batch node and client name"),
    "VMM_IP": ("vmm.ip", "ADDRESS/PREFIXLENGTH of eth0"),
    "VMM_GATEWAY": ("vmm.gw", "address of the default gateway; may be missing"),
    "VMM_CONTROLLER": ("vmm.ctl", "HOSTNAME@ADDRESS of the batch server; without it no batch node starts"),
    "VMM_BUS": ("vmm.bus", "PORT@ADDRESS of the bus daemon; without it no vmm client is started"),
    "VMM_FEATURES": (
        "vmm.features",
        "batch features besides the template's own, with commas; may be missing",
    ),
}


def guest_words(values: Mapping[str, str]) -> str:
    """A kernel command line's part for the given shell variables (keys of WORDS)."""
    return " ".join(f"{WORDS[variable][0]}={value}" for variable, value in values.items())


def identity_script() -> str:
    """A shell file that sets the variables of WORDS from /proc/cmdline and exports them."""
    cases = "".join(f"    {word}=*) {name}=${{w#*=}} ;;\n" for name, (word, _) in WORDS.items())
    return (
        "# made from the testbed's table of kernel command line words\n"
        f"for w in $(cat /proc/cmdline); do\n    case $w in\n{cases}    esac\ndone\n"
        f"export {' '.join(WORDS)}\n"
    )
