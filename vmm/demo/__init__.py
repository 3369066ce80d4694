"""A cluster on one machine to look at: every part a process of its own, no root rights, no hypervisor."""
